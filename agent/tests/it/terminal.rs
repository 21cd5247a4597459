//! Terminals, with the real helper and a real shell.

use crate::bench::{Bench, gone, unique_sleep};
use unifyit_protocol::{
    command::{Action, Terminal},
    ids::TunnelId,
    live::{
        LiveDown, LiveUp, TERMINAL_WINDOW, TunnelClosed, TunnelCredit, TunnelData, TunnelResize,
    },
};

struct Screen {
    tunnel: TunnelId,
    text: String,
    seq: u64,
    bytes: u32,
}

impl Screen {
    async fn open(bench: &Bench) -> Self {
        let tunnel = TunnelId::generate();
        let order = Terminal { tunnel, cols: 81, rows: 25, user: None };
        bench.deliver(&bench.command(Action::Terminal(order))).await;
        Self { tunnel, text: String::new(), seq: 0, bytes: 0 }
    }

    fn type_in(&self, bench: &Bench, text: &str) {
        let data = TunnelData { tunnel: self.tunnel, seq: 1, data: text.as_bytes().to_vec() };
        bench.terminals.take(LiveDown::Data(data));
    }

    /// Reads until a text appears.
    async fn shows(&mut self, bench: &Bench, wanted: &str) {
        while !self.text.contains(wanted) {
            match bench.live().await {
                LiveUp::Data(data) if data.tunnel == self.tunnel => {
                    self.seq += 1;
                    assert_eq!(data.seq, self.seq, "a frame was lost");
                    self.bytes += u32::try_from(data.data.len()).unwrap();
                    self.text.push_str(&String::from_utf8_lossy(&data.data));
                }
                LiveUp::Closed(closed) => panic!("{}: {}", closed.reason, self.text),
                _ => {}
            }
        }
    }

    async fn closed(&self, bench: &Bench) -> String {
        loop {
            match bench.live().await {
                LiveUp::Closed(closed) if closed.tunnel == self.tunnel => return closed.reason,
                _ => {}
            }
        }
    }
}

#[tokio::test]
async fn a_shell_sits_on_a_real_terminal_that_can_be_resized() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let mut screen = Screen::open(&bench).await;
    // The answers differ from what is typed, so that an echo is no proof.
    screen.type_in(&bench, "echo term=$TERM size=$(stty size) job=$(tty | cut -c1-9)\r");
    screen.shows(&bench, "term=xterm-256color size=25 81 job=/dev/pts/").await;
    bench.terminals.take(LiveDown::Resize(TunnelResize {
        tunnel: screen.tunnel,
        cols: 132,
        rows: 43,
    }));
    screen.type_in(&bench, "echo now=$(stty size)\r");
    screen.shows(&bench, "now=43 132").await;
    screen.type_in(&bench, "exit\r");
    assert_eq!(screen.closed(&bench).await, "The shell ended.");
}

#[tokio::test]
async fn a_terminal_that_outlives_a_break_of_the_connection_speaks_up() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let mut screen = Screen::open(&bench).await;
    screen.type_in(&bench, "echo is=open\r");
    screen.shows(&bench, "is=open\r\n").await;
    bench.context.live.set_up(false);
    // It has noticed when it is waiting on the one thread again.
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    bench.context.live.set_up(true);
    let credit = loop {
        match bench.live().await {
            LiveUp::Credit(credit) => break credit,
            LiveUp::Closed(closed) => panic!("{}", closed.reason),
            _ => {}
        }
    };
    assert_eq!((credit.tunnel, credit.bytes), (screen.tunnel, 0));
    // The relay does not know it any more.
    let reason = String::new();
    bench.terminals.take(LiveDown::Close(TunnelClosed { tunnel: screen.tunnel, reason }));
    assert_eq!(screen.closed(&bench).await, "The viewer left.");
}

#[tokio::test]
async fn control_c_reaches_the_program_in_front() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let mut screen = Screen::open(&bench).await;
    let nap = unique_sleep();
    screen.type_in(&bench, &format!("echo re''ady; sleep {nap}\r"));
    screen.shows(&bench, "ready").await;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while !crate::bench::runs(&nap) {
        assert!(std::time::Instant::now() < deadline);
        tokio::task::yield_now().await;
    }
    screen.type_in(&bench, "\u{3}");
    gone(&nap).await;
    screen.type_in(&bench, "echo still''alive\r");
    screen.shows(&bench, "stillalive").await;
}

#[tokio::test]
async fn a_flood_stops_at_the_viewers_credit_and_goes_on_with_more() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let mut screen = Screen::open(&bench).await;
    screen.type_in(&bench, "head -c 1000000 /dev/zero | tr '\\0' y; echo; echo flood''over\r");
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while screen.bytes < TERMINAL_WINDOW {
        assert!(std::time::Instant::now() < deadline);
        let before = screen.text.len();
        let LiveUp::Data(data) = bench.live().await else { continue };
        screen.seq = data.seq;
        screen.bytes += u32::try_from(data.data.len()).unwrap();
        screen.text.truncate(before.min(10));
    }
    assert_eq!(screen.bytes, TERMINAL_WINDOW, "more came than the viewer allowed");
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert!(bench.context.live.take_next().is_none(), "the terminal did not stop");
    let (tunnel, bytes) = (screen.tunnel, TERMINAL_WINDOW);
    let mut taken = 0;
    while !screen.text.contains("floodover") {
        if taken == 0 {
            bench.terminals.take(LiveDown::Credit(TunnelCredit { tunnel, bytes }));
            taken = bytes;
        }
        let LiveUp::Data(data) = bench.live().await else { continue };
        taken = taken.saturating_sub(u32::try_from(data.data.len()).unwrap());
        screen.text.push_str(&String::from_utf8_lossy(&data.data));
    }
}

#[tokio::test]
async fn when_the_viewer_leaves_what_runs_in_the_terminal_ends() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let mut screen = Screen::open(&bench).await;
    let nap = unique_sleep();
    screen.type_in(&bench, &format!("echo go''ing; sleep {nap}\r"));
    screen.shows(&bench, "going").await;
    let left = TunnelClosed { tunnel: screen.tunnel, reason: "The viewer left.".into() };
    bench.terminals.take(LiveDown::Close(left));
    assert_eq!(screen.closed(&bench).await, "The viewer left.");
    gone(&nap).await;
}

#[tokio::test]
async fn one_terminal_too_many_and_a_stranger_are_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let _first = Screen::open(&bench).await;
    let _second = Screen::open(&bench).await;
    let third = Screen::open(&bench).await;
    let reason = third.closed(&bench).await;
    assert!(reason.contains("already has 2 terminals"), "{reason}");
    let tunnel = TunnelId::generate();
    bench.terminals.take(LiveDown::Credit(TunnelCredit { tunnel, bytes: 1 }));
    loop {
        if let LiveUp::Closed(closed) = bench.live().await
            && closed.tunnel == tunnel
        {
            break;
        }
    }
}

#[tokio::test]
async fn a_terminal_whose_viewer_left_before_it_opened_never_opens() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let tunnel = TunnelId::generate();
    let reason = "The viewer closed the terminal.".to_owned();
    bench.terminals.take(LiveDown::Close(TunnelClosed { tunnel, reason }));
    let order = Terminal { tunnel, cols: 80, rows: 24, user: None };
    bench.deliver(&bench.command(Action::Terminal(order))).await;
    let screen = Screen { tunnel, text: String::new(), seq: 0, bytes: 0 };
    let reason = screen.closed(&bench).await;
    assert!(reason.contains("had left"), "{reason}");
}

/// What a person detaches, each in its own way, and what is merely running.
async fn leave(bench: &Bench, detached: [&str; 3], running: &str) {
    let screen = Screen::open(bench).await;
    let [nohup, session, job] = detached;
    let typed = format!(
        "nohup sleep {nohup} >/dev/null 2>&1 & setsid -f sleep {session}; \
         sleep {job} & disown -a 2>/dev/null; sleep {running}\r"
    );
    screen.type_in(bench, &typed);
    let names = [nohup, session, job, running];
    Bench::wait_for("all of it", || names.iter().all(|n| crate::bench::runs(n))).await;
    let left = TunnelClosed { tunnel: screen.tunnel, reason: "The viewer left.".into() };
    bench.terminals.take(LiveDown::Close(left));
    assert_eq!(screen.closed(bench).await, "The viewer left.");
    gone(running).await;
}

#[tokio::test]
async fn what_was_detached_on_purpose_stays_as_with_ssh() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start(dir.path(), 8).await;
    let naps: Vec<String> = (0..4).map(|_| unique_sleep()).collect();
    leave(&bench, [&naps[0], &naps[1], &naps[2]], &naps[3]).await;
    for nap in &naps[..2] {
        assert!(crate::bench::runs(nap), "{nap} was ended");
        let found = std::process::Command::new("pkill").args(["-f", nap]).status();
        assert!(found.unwrap().success());
    }
    drop(std::process::Command::new("pkill").args(["-f", &naps[2]]).status());
}

#[tokio::test]
async fn a_setting_ends_what_was_detached_too() {
    let dir = tempfile::tempdir().unwrap();
    let bench = Bench::start_with(dir.path(), 8, true).await;
    let naps: Vec<String> = (0..4).map(|_| unique_sleep()).collect();
    leave(&bench, [&naps[0], &naps[1], &naps[2]], &naps[3]).await;
    for nap in &naps {
        gone(nap).await;
    }
}
