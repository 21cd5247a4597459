//! tmp
#[tokio::main]
async fn main() {
    let t = std::time::Instant::now();
    let p = unifyit_tests::stack::postgres::Postgres::start(
        &std::path::absolute(std::env::args().nth(1).unwrap()).unwrap(),
    )
    .await
    .unwrap();
    println!("{} {:?} {}", p.app_url(), t.elapsed(), p.sql("select version()").unwrap());
    tokio::time::sleep(std::time::Duration::from_secs(
        std::env::args().nth(2).unwrap().parse().unwrap(),
    ))
    .await;
}
