//! Clients that others wrote: Mosquitto's and Eclipse Paho's.

use crate::site::{Device, PATIENCE, Site};
use std::process::Stdio;
use tokio::{
    process::{Child, Command},
    time::timeout,
};
use unifyit_protocol::{ids::DeviceId, topics};
use unifyit_relay::broker::BrokerEvent;

const VERSIONS: [&str; 2] = ["mqttv311", "mqttv5"];

fn mosquitto(program: &str, site: &Site, device: &Device, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command
        .args(["-h", "127.0.0.1", "-p", &site.address.port().to_string(), "--cafile"])
        .arg(&site.ca_file)
        .arg("--cert")
        .arg(&device.certificate_file)
        .arg("--key")
        .arg(&device.key_file)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

fn start(mut command: Command) -> Child {
    command.spawn().unwrap_or_else(|error| {
        panic!("{:?} cannot be started ({error}); run `make install-deps`", command.as_std())
    })
}

/// Whether it succeeded, and all that it printed.
async fn outcome(child: Child) -> (bool, String) {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("an end").unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&text).into_owned())
}

fn messages(site: &Site, of: DeviceId) -> Vec<(topics::Up, String)> {
    let events = site.events.lock().unwrap();
    let pick = |event: &BrokerEvent| match event {
        BrokerEvent::Message { device, kind, payload, .. } if *device == of => {
            Some((*kind, String::from_utf8_lossy(payload).into_owned()))
        }
        _ => None,
    };
    events.iter().filter_map(pick).collect()
}

#[tokio::test]
async fn mosquitto_pub_publishes_at_each_quality_of_service() {
    let site = Site::start().await;
    for version in VERSIONS {
        let device = site.device();
        for qos in ["0", "1", "2"] {
            let topic = topics::Up::Hello.topic(device.id);
            let arguments = ["-V", version, "-q", qos, "-t", &topic, "-m", qos];
            let (good, said) =
                outcome(start(mosquitto("mosquitto_pub", &site, &device, &arguments))).await;
            assert!(good, "{version} at QoS {qos}: {said}");
        }
        site.event("the third message", |event| {
            matches!(event, BrokerEvent::Message { device: d, payload, .. }
                if *d == device.id && payload.as_ref() == b"2")
            .then_some(())
        })
        .await;
        let texts: Vec<String> =
            messages(&site, device.id).into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["0", "1", "2"], "{version}");
    }
}

#[tokio::test]
async fn mosquitto_pub_carries_half_a_megabyte() {
    let site = Site::start().await;
    let device = site.device();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), vec![b'x'; 500_000]).unwrap();
    let topic = topics::Up::Report.topic(device.id);
    let path = file.path().to_str().unwrap();
    let arguments = ["-V", "mqttv5", "-q", "1", "-t", &topic, "-f", path];
    let (good, said) = outcome(start(mosquitto("mosquitto_pub", &site, &device, &arguments))).await;
    assert!(good, "{said}");
    assert_eq!(site.message(device.id, topics::Up::Report).await.len(), 500_000);
}

#[tokio::test]
async fn mosquitto_sub_hears_what_is_sent_to_its_device() {
    let site = Site::start().await;
    for version in VERSIONS {
        let device = site.device();
        let filter = topics::down_filter(device.id);
        let arguments = ["-V", version, "-q", "2", "-t", &filter, "-C", "3", "-v"];
        let child = start(mosquitto("mosquitto_sub", &site, &device, &arguments));
        site.subscribed(device.id).await;
        for kind in [topics::Down::Control, topics::Down::Command, topics::Down::Live] {
            site.handle.send(device.id, kind, "order".into()).unwrap();
        }
        let (good, said) = outcome(child).await;
        assert!(good, "{version}: {said}");
        let id = device.id;
        let wanted = ["control", "command", "live"].map(|k| format!("v1/{id}/down/{k} order"));
        assert_eq!(said.lines().collect::<Vec<_>>(), wanted, "{version}");
    }
}

#[tokio::test]
async fn mosquitto_is_refused_on_every_other_topic() {
    let site = Site::start().await;
    let victim = site.device();
    for version in VERSIONS {
        let device = site.device();
        let elsewhere = topics::Up::Report.topic(victim.id);
        let arguments = ["-V", version, "-q", "1", "-t", &elsewhere, "-m", "forged", "-d"];
        let mut publisher = start(mosquitto("mosquitto_pub", &site, &device, &arguments));
        site.event("a refusal", |event| {
            // MQTT 3.1.1 has no other way to say no than to hang up.
            matches!(event, BrokerEvent::Disconnected { device: d, .. } if *d == device.id)
                .then_some(())
        })
        .await;
        let _ = publisher.kill().await;
        let listener = site.device();
        let filter = topics::down_filter(victim.id);
        let arguments = ["-V", version, "-t", &filter, "-C", "1", "-W", "10"];
        let child = start(mosquitto("mosquitto_sub", &site, &listener, &arguments));
        let (_, said) = outcome(child).await;
        assert!(said.contains("All subscription requests were denied"), "{version}: {said}");
    }
    assert!(messages(&site, victim.id).is_empty());
    assert!(site.metric("mqtt_denied_total") >= 4.0);
}

#[tokio::test]
async fn mosquitto_without_a_certificate_of_the_site_is_refused() {
    let (site, other) = (Site::start().await, Site::start().await);
    let stranger = other.device();
    let topic = topics::Up::Hello.topic(stranger.id);
    let arguments = ["-V", "mqttv5", "-q", "1", "-t", &topic, "-m", "x"];
    let (good, said) =
        outcome(start(mosquitto("mosquitto_pub", &site, &stranger, &arguments))).await;
    assert!(!good, "{said}");
    assert!(messages(&site, stranger.id).is_empty());
}

const PAHO: &str = r#"
import ssl, sys, threading
import paho.mqtt.client as mqtt
version, port, ca, cert, key, device = sys.argv[1:]
protocol = mqtt.MQTTv5 if version == "mqttv5" else mqtt.MQTTv311
try:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION1, client_id="paho", protocol=protocol)
except AttributeError:
    client = mqtt.Client(client_id="paho", protocol=protocol)
client.tls_set(ca_certs=ca, certfile=cert, keyfile=key)
done = threading.Event()
def on_connect(client, userdata, flags, reason, properties=None):
    client.subscribe(f"v1/{device}/down/#", qos=1)
def on_subscribe(client, userdata, mid, granted, properties=None):
    client.publish(f"v1/{device}/up/report", b"from paho", qos=2)
def on_message(client, userdata, message):
    print(message.topic, message.payload.decode(), message.qos, flush=True)
    done.set()
client.on_connect, client.on_subscribe, client.on_message = on_connect, on_subscribe, on_message
client.connect("127.0.0.1", int(port), keepalive=30)
client.loop_start()
heard = done.wait(15)
client.disconnect()
client.loop_stop()
sys.exit(0 if heard else 1)
"#;

#[tokio::test]
async fn paho_publishes_and_hears_the_answer() {
    let site = Site::start().await;
    for version in VERSIONS {
        let device = site.device();
        let mut command = Command::new("/usr/bin/python3");
        command
            .args(["-c", PAHO, version, &site.address.port().to_string()])
            .args([&site.ca_file, &device.certificate_file, &device.key_file])
            .arg(device.id.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let (good, said) = outcome(start(command)).await;
        assert!(
            !said.contains("No module named"),
            "Python's paho-mqtt is missing; run `make install-deps` (python3-paho-mqtt)"
        );
        assert!(good, "{version}: {said}");
        assert_eq!(said.trim(), format!("v1/{}/down/control from paho 0", device.id));
    }
}
