//! The list of computers at 100,000, asked of a whole cloud under row security: every
//! question that the console puts, filtered, sorted, searched and counted, by a
//! technician of the one partner that has them. Another partner has a fifth as many.

use crate::report::{Report, ms, quantile};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use unifyit_tests::{api::Api, api::types::NewKey, stack::Stack};

const DEVICES: u32 = 100_000;
/// A question is asked so often, after a few times that do not count.
const ROUNDS: usize = 100;
const WARM: usize = 5;
/// The budget for filtered and sorted lists.
const GOAL: Duration = Duration::from_millis(50);

/// A partner's computers, five sites to an organization.
fn seed(partner: &str, organizations: u32, devices: u32) -> String {
    format!(
        "INSERT INTO organizations (id, partner_id, name) \
           SELECT gen_random_uuid(), '{partner}', 'Org ' || lpad(n::text, 3, '0') FROM generate_series(1, {organizations}) n; \
         INSERT INTO sites (id, partner_id, organization_id, name) \
           SELECT gen_random_uuid(), partner_id, o.id, o.name || ' site ' || n FROM organizations o, generate_series(1, 5) n \
           WHERE o.partner_id = '{partner}' AND o.name LIKE 'Org %'; \
         INSERT INTO site_configs (site_id, partner_id, organization_id) \
           SELECT id, partner_id, organization_id FROM sites WHERE partner_id = '{partner}' ON CONFLICT DO NOTHING; \
         INSERT INTO relays (id, partner_id, organization_id, site_id, peer_id, down_epoch, online, lan_https, ca_fingerprint) \
           SELECT gen_random_uuid(), partner_id, organization_id, id, 'peer-' || id, 1, abs(hashtext(id::text)) % 20 <> 0, \
             '{{10.0.0.2:8443}}', decode(repeat('05', 32), 'hex') FROM sites s WHERE partner_id = '{partner}' \
             AND NOT EXISTS (SELECT FROM relays r WHERE r.site_id = s.id); \
         WITH s AS (SELECT id, organization_id, row_number() OVER () - 1 AS place, count(*) OVER () AS many \
           FROM sites WHERE partner_id = '{partner}') \
         INSERT INTO devices (id, partner_id, organization_id, site_id, hostname, online, os_name, os_family, arch, \
           agent_version, address, tags, cpu_pct, memory_pct, disk_pct, metrics_at, last_seen) \
           SELECT gen_random_uuid(), '{partner}', s.organization_id, s.id, \
             (ARRAY['web','db','pc','lap','kiosk'])[1 + n % 5] || '-' || lpad(n::text, 6, '0'), n % 9 <> 0, \
             (ARRAY['Debian GNU/Linux 12','Ubuntu 24.04 LTS','Windows 11 Pro','macOS 15'])[1 + n % 4], \
             (ARRAY['linux','linux','windows','macos'])[1 + n % 4], 'x86_64', '0.1.' || n % 3, \
             '10.' || n / 65536 || '.' || n / 256 % 256 || '.' || n % 256, \
             CASE WHEN n % 50 = 0 THEN ARRAY['vip'] ELSE '{{}}' END, n % 10007 * 7919 % 1000 / 10.0, \
             n % 10007 * 1047 % 1000 / 10.0, n % 10007 * 1299 % 1000 / 10.0, \
             now() - make_interval(secs => n % 120), now() - make_interval(secs => n % 3600) \
           FROM generate_series(1, {devices}) n JOIN s ON s.place = n % s.many;"
    )
}

/// No relay stands behind the seeded rows, and the cloud marks those as away that have
/// no session. What it writes of them is passed over, so that all questions are asked of
/// the same states.
const RELAYS_STAY: &str = "CREATE FUNCTION stays() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
    CREATE TRIGGER stays BEFORE UPDATE ON relays FOR EACH ROW WHEN (OLD.peer_id LIKE 'peer-%') \
        EXECUTE FUNCTION stays()";

/// A few minutes of loads, told site by site, as relays do: a table that was just
/// written and tidied up is read faster than any that is in use.
const MINUTES: &str = "DO $$ DECLARE place uuid; BEGIN \
    FOR minute IN 1..3 LOOP FOR place IN SELECT id FROM sites LOOP \
        UPDATE device_loads SET cpu_pct = (cpu_pct * 7 + minute)::numeric % 100, metrics_at = now(), \
            seen = now() WHERE site_id = place AND NOT revoked; \
        COMMIT; \
    END LOOP; END LOOP; END $$";

/// What is asked: in which words, and by which path.
fn questions(site: &str, organization: &str, cursor: &str) -> Vec<(&'static str, String)> {
    let list = |rest: &str| format!("/devices?limit=200{rest}");
    vec![
        ("first page by name", list("")),
        ("by load", list("&sort=-cpu_pct")),
        ("by load, next page", list(&format!("&sort=-cpu_pct&cursor={cursor}"))),
        ("by state", list("&sort=state")),
        ("by site", list("&sort=site_name")),
        ("by last seen", list("&sort=-last_seen")),
        ("one state", list("&state=offline")),
        ("two states by memory", list("&state=offline,unreachable&sort=-memory_pct")),
        ("system and state", list("&os=Windows%2011%20Pro&state=online&sort=-disk_pct")),
        ("search, many hits", list("&q=kiosk")),
        ("search, few hits", list("&q=web-0123")),
        ("search, no hit", list("&q=nothing-like-it")),
        ("search by load", list("&q=linux&sort=-cpu_pct")),
        ("tag", list("&tag=vip")),
        ("site", list(&format!("&site_id={site}&sort=-cpu_pct"))),
        ("organization", list(&format!("&organization_id={organization}"))),
        ("facets", "/devices/facets".to_owned()),
        ("facets of a search", "/devices/facets?q=kiosk".to_owned()),
        ("facets of a state", "/devices/facets?state=offline".to_owned()),
        ("overview", "/overview".to_owned()),
        ("overview of a site", format!("/overview?site_id={site}")),
    ]
}

pub(crate) async fn measure(stack: &Stack, report: &mut Report) -> Result<()> {
    println!("lists of {DEVICES} computers");
    let partner = stack.postgres.sql("SELECT id FROM partners LIMIT 1")?;
    stack.postgres.sql(&seed(&partner, 200, DEVICES))?;
    let other = stack.postgres.sql(
        "INSERT INTO partners (id, name) VALUES (gen_random_uuid(), 'Another') RETURNING id",
    )?;
    stack.postgres.sql(&seed(&other, 40, DEVICES / 5))?;
    stack.postgres.sql(RELAYS_STAY)?;
    stack.postgres.sql("VACUUM ANALYZE")?;
    stack.postgres.sql(MINUTES)?;
    let wish = json!({"name": "lists", "role": "technician", "partner_id": partner});
    let technician: NewKey = stack.api.post("/api-keys", &wish).await?;
    let api = Api::with_key(stack.api.base(), &technician.key)?;
    let first: Value = api.get("/devices?limit=500&sort=-cpu_pct").await?;
    let text = |value: &Value, name: &str| {
        value[name].as_str().map(str::to_owned).with_context(|| format!("no {name}"))
    };
    let cursor = text(&first, "next_cursor")?;
    let site = text(&first["items"][0], "site_id")?;
    let organization = text(&first["items"][0], "organization_id")?;
    let mut all = Vec::new();
    for (what, path) in questions(&site, &organization, &cursor) {
        all.push((what, asked(&api, &path).await?));
    }
    let wish = json!({"name": "member", "role": "viewer", "organization_id": organization});
    let member: NewKey = stack.api.post("/api-keys", &wish).await?;
    let member = Api::with_key(stack.api.base(), &member.key)?;
    all.push(("a member's", asked(&member, "/devices?limit=200&sort=-cpu_pct").await?));
    let (asked, mut slow) = (all.len(), 0);
    for (what, mut times) in all {
        let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
        slow += usize::from(p99 > GOAL);
        report.goal(
            &format!("{DEVICES} computers, {what}, p99"),
            format!("{} (p50 {})", ms(p99), ms(p50)),
            "≤ 50 ms",
            p99 <= GOAL,
        );
    }
    let above = format!("{slow} of {asked}");
    report.goal("questions whose p99 is above 50 ms", above, "0", slow == 0);
    Ok(())
}

/// How long one question takes, each time.
async fn asked(api: &Api, path: &str) -> Result<Vec<Duration>> {
    let mut times = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS + WARM {
        let began = Instant::now();
        api.bytes(path).await?;
        if round >= WARM {
            times.push(began.elapsed());
        }
    }
    Ok(times)
}
