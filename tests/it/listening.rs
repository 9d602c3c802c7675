//! Where the daemon listens: the options that other exporters have, and the socket that systemd passes.

use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Stdio;

use talkover_simulator::Clock;
use tokio::process::{Child, Command};

use crate::harness::{BINARY, Exporter, Workspace, quiet_scenario, simulator};

/// Starts the daemon as a service manager does: with `socket` as descriptor 3, and the variables that say so.
fn start_with_socket(config: &Path, socket: OwnedFd) -> Child {
    let script = "export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$0\" run --config \"$1\" 3<&0 0</dev/null";
    let mut command = Command::new("sh");
    command.args(["-c", script, BINARY]).arg(config).env("NO_PROXY", "*").kill_on_drop(true);
    command.stdin(Stdio::from(socket)).stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
}

async fn status(url: String) -> u16 {
    reqwest::Client::builder().no_proxy().build().unwrap().get(url).send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn a_socket_that_systemd_passes_is_served_on_and_no_other() {
    let api = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&api.base_url(), &quiet_scenario().webhooks, "");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    // Whoever tried to listen there would fail.
    std::fs::write(&config, text.replace("127.0.0.1:0", &taken.local_addr().unwrap().to_string())).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let exporter = Exporter::listening(start_with_socket(&config, socket.into())).await;
    assert_eq!(exporter.url, format!("http://{address}"));
    assert_eq!(status(format!("http://{address}/-/healthy")).await, 200);
    assert!(exporter.log().iter().any(|line| line.contains("serving on the socket passed by systemd")));
    assert_eq!(exporter.terminate().await, Some(0));
}

#[tokio::test]
async fn what_is_passed_and_is_no_listener_is_refused() {
    let workspace = Workspace::new();
    let config = workspace.configure("http://127.0.0.1:1", &quiet_scenario().webhooks, "");
    let file = std::fs::File::open(&config).unwrap();
    let output = start_with_socket(&config, file.into()).wait_with_output().await.unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("failed to use the socket that systemd passes (LISTEN_FDS): fd 3 is not a socket"),
        "{message}"
    );
}

#[tokio::test]
async fn the_options_of_other_exporters_override_file_and_variables() {
    let api = simulator(quiet_scenario(), Clock::Real).await;
    let workspace = Workspace::new();
    let config = workspace.configure(&api.base_url(), &quiet_scenario().webhooks, "");
    let web = workspace.write("web.yml", "http_server_config: {headers: {X-Frame-Options: deny}}\n");
    let mut command = Command::new(BINARY);
    command.arg("-c").arg(&config).args([
        "--web.listen-address",
        "localhost:0",
        "--web.telemetry-path",
        "/probe/metrics",
    ]);
    command.arg("--web.config.file").arg(&web);
    // Nobody has this address.
    command.env("TALKOVER_EXPORTER__SERVER__LISTEN", "192.0.2.1:1").env("NO_PROXY", "*").kill_on_drop(true);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let exporter = Exporter::listening(child).await;
    assert_eq!(status(format!("{}/probe/metrics", exporter.url)).await, 200);
    assert_eq!(status(format!("{}/metrics", exporter.url)).await, 404);
    let page = reqwest::get(&exporter.url).await.unwrap();
    assert_eq!(page.headers().get("x-frame-options").map(|value| value.as_bytes()), Some(&b"deny"[..]));
    assert!(page.text().await.unwrap().contains("href=\"probe/metrics\""));
    // They hold over a reload, which reads the file and the variables again.
    exporter.signal(rustix::process::Signal::HUP);
    exporter.wait_for_log("the reload", |log| log.iter().any(|line| line.contains("reloaded the configuration"))).await;
    assert!(!exporter.log().iter().any(|line| line.contains("takes effect when")), "{:#?}", exporter.log());
    assert_eq!(exporter.terminate().await, Some(0));
}
