//! Real MQTT clients with a device's certificate: at home on the device's own
//! topics, refused everywhere else.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::{fs, path::PathBuf};
use unifyit_protocol::{
    lan::{Hello, UpControl},
    topics::{Up, down_filter},
};
use unifyit_tests::{
    process::{Outcome, Spec},
    sim::{Enroller, Identity, now_ms},
    stack::Stack,
    wait::{self, secs},
};

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

/// A device's credentials as files, and the programs that use them.
struct Client {
    identity: Identity,
    folder: PathBuf,
}

impl Client {
    async fn enroll(stack: &Stack) -> Result<Self> {
        let token = stack.api.install_token(&stack.site()?, "agent", 1).await?.token;
        let identity = Enroller::new(&token)?.enroll("mqtt-client", 77).await?;
        let folder = stack.folder().join("mqtt-client");
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("ca.pem"), pem("CERTIFICATE", &identity.ca))?;
        fs::write(folder.join("cert.pem"), pem("CERTIFICATE", &identity.certificate))?;
        fs::write(folder.join("key.pem"), pem("PRIVATE KEY", &identity.key))?;
        Ok(Self { identity, folder })
    }

    fn run(&self, program: &str, version: &str, args: &[&str]) -> Result<Outcome> {
        let (host, port) = self.identity.mqtt[0].rsplit_once(':').context("host:port")?;
        let file = |name: &str| self.folder.join(name).display().to_string();
        let (ca, cert, key) = (file("ca.pem"), file("cert.pem"), file("key.pem"));
        let id = self.identity.device.to_string();
        let mut all = vec![
            "-V", version, "-h", host, "-p", port, "-i", &id, "--cafile", &ca, "--cert", &cert,
            "--key", &key,
        ];
        all.extend(args);
        let (path, run) = ("timeout", ["20", program]);
        Spec::new(program, path, run.iter().copied().chain(all), "/dev/null").outcome("")
    }
}

fn pem(kind: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).filter_map(|line| std::str::from_utf8(line).ok()).collect();
    format!("-----BEGIN {kind}-----\n{}\n-----END {kind}-----\n", lines.join("\n"))
}

#[tokio::test(flavor = "multi_thread")]
async fn mosquittos_clients_talk_to_the_relay_with_a_devices_certificate() -> Result<()> {
    let stack = Stack::for_test(0).await?;
    let client = Client::enroll(&stack).await?;
    let device = client.identity.device;
    let hello = UpControl::Hello(Hello {
        agent_version: "mosquitto".into(),
        epoch: 1,
        hostname: "mqtt-client".into(),
        now_ms: now_ms(),
        running: Vec::new(),
        heeds_handed: false,
        instance: uuid::Uuid::nil(),
    });
    let file = client.folder.join("hello");
    fs::write(&file, hello.encode()?)?;
    let topic = Up::Hello.topic(device);
    let own = down_filter(device);
    for version in VERSIONS {
        for qos in ["0", "1"] {
            let args = ["-t", &topic, "-q", qos, "-f", &file.display().to_string()];
            let outcome = client.run("mosquitto_pub", version, &args)?;
            assert!(outcome.status.success(), "{version}, QoS {qos}: {}", outcome.text);
        }
        let outcome = client.run("mosquitto_sub", version, &["-t", &own, "-E"])?;
        let welcome = outcome.status.success() && !outcome.text.contains("denied");
        assert!(welcome, "{version}: its own topics: {}", outcome.text);
    }
    // The front knows the device by its certificate, and took its word.
    wait::until("the relay to report the device as seen", secs(30), || async {
        let page = stack.api.devices(&format!("q={}&limit=10", "mqtt-client")).await?;
        Ok(page.items.iter().any(|d| d.id == device.to_string()).then_some(()))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn other_topics_are_refused_to_real_clients() -> Result<()> {
    let stack = Stack::for_test(0).await?;
    let client = Client::enroll(&stack).await?;
    let foreign = uuid::Uuid::now_v7();
    for version in VERSIONS {
        let down = format!("v1/{foreign}/down/#");
        for filter in ["#", "v1/+/down/#", "$SYS/#", "$share/g/v1/#", &down] {
            let outcome = client.run("mosquitto_sub", version, &["-t", filter, "-E"])?;
            let told = !outcome.status.success() || outcome.text.contains("denied");
            assert!(told, "{version}: subscribed to {filter}: {}", outcome.text);
        }
        let theirs = format!("v1/{foreign}/up/report");
        for topic in ["anything", "v1/x/up/report", &theirs] {
            let outcome =
                client.run("mosquitto_pub", version, &["-t", topic, "-q", "1", "-m", "x"])?;
            let told =
                !outcome.status.success() || outcome.text.to_lowercase().contains("not authorized");
            assert!(told, "{version}: published to {topic}: {}", outcome.text);
        }
    }
    Ok(())
}
