//! `simulate`: serves only the simulated TalkOver API, to try out a configuration.
//!
//! It prints the API's address and a configuration for a daemon, and serves until it is stopped. It runs no daemon.

use std::future::Future;
use std::time::Duration;

use tokio::net::TcpListener;

use super::run::runtime;
use super::{Failure, SimulateArgs, print_beside};
use crate::shutdown;
use talkover_simulator::{Clock, DEFAULT_SEED, Scenario, Simulator, Webhook};

/// How long open connections may delay the end.
const PATIENCE: Duration = Duration::from_secs(1);

pub(super) fn run(args: &SimulateArgs) -> Result<(), Failure> {
    let scenario = match &args.scenario {
        Some(path) => Scenario::from_file(path),
        None => Scenario::demo(),
    };
    let scenario = scenario.map_err(Failure::usage)?;
    let runtime = runtime()?;
    let result = runtime.block_on(serve(args, scenario, told_to_stop()));
    runtime.shutdown_timeout(PATIENCE);
    result
}

/// Waits for the signal to stop. If no handler can be installed, the system's default ends the process.
async fn told_to_stop() {
    match shutdown::signal(shutdown::END) {
        Ok(stopped) => stopped.await,
        Err(_) => std::future::pending().await,
    }
}

/// Serves the simulated API until `shutdown` completes.
async fn serve(args: &SimulateArgs, scenario: Scenario, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
    let unusable = |error: std::io::Error| Failure::running(format!("failed to listen on {}: {error}", args.listen));
    let listener = TcpListener::bind(args.listen).await.map_err(unusable)?;
    let token = scenario.tokens.first().cloned().unwrap_or_default();
    let webhooks = scenario.webhooks.clone();
    let seed = args.seed.unwrap_or(DEFAULT_SEED);
    let simulator = Simulator::start(scenario, seed, Clock::Real, listener).map_err(unusable)?;
    let introduction = introduction(&simulator.base_url(), &token, &webhooks);
    let serving = async {
        shutdown.await;
        Ok(())
    };
    print_beside(introduction, serving).await?;
    simulator.shutdown().await;
    Ok(())
}

fn introduction(base_url: &str, token: &str, webhooks: &[Webhook]) -> String {
    let webhooks: String = webhooks.iter().map(webhook_line).collect();
    format!(
        "Simulated TalkOver API: {base_url}\n\
         Token: {token}\n\
         \n\
         # Configuration for a daemon that is started with TALKOVER_TOKEN={token} in its environment:\n\
         environments:\n  \
           - name: simulated\n    \
             base_url: {base_url}\n    \
             webhooks:\n{webhooks}"
    )
}

fn webhook_line(webhook: &Webhook) -> String {
    let Webhook { id, name, owner, .. } = webhook;
    // Written as JSON strings, which are valid YAML for any name and id.
    let [owner_id, id, name] = [&owner.id, id, name].map(|text| serde_json::Value::from(text.as_str()));
    format!("      - {{{}_id: {owner_id}, webhook_id: {id}, name: {name}}}\n", owner.kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_introduction_can_be_pasted() {
        let mut webhook = Webhook::of_agent("a-1", "w-1");
        webhook.name = "Orders: \"all\"".to_owned();
        let text = introduction("http://127.0.0.1:1", "talq_x", &[webhook, Webhook::of_campaign("12", "w-2")]);
        let (head, yaml) = text.split_once("\n\n").expect("two parts");
        assert_eq!(head, "Simulated TalkOver API: http://127.0.0.1:1\nToken: talq_x");
        let source = config::File::from_str(yaml, config::FileFormat::Yaml);
        let config = config::Config::builder().add_source(source).build().expect("YAML");
        let text = |key: &str| config.get_string(&format!("environments[0].{key}")).expect(key);
        assert_eq!(text("base_url"), "http://127.0.0.1:1");
        assert_eq!(text("webhooks[0].agent_id"), "a-1");
        assert_eq!(text("webhooks[0].name"), "Orders: \"all\"");
        assert_eq!(text("webhooks[1].campaign_id"), "12");
    }

    #[test]
    fn a_scenario_that_cannot_be_played_is_a_wrong_command_line() {
        let args =
            SimulateArgs { listen: ([127, 0, 0, 1], 0).into(), scenario: Some("/nonexistent.yml".into()), seed: None };
        let failure = run(&args).expect_err("no such file");
        assert_eq!(failure.code(), 2);
        assert!(failure.messages()[0].starts_with("/nonexistent.yml: failed to read: "), "{failure:?}");
    }

    #[tokio::test]
    async fn an_address_in_use_is_said_so() {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listen = taken.local_addr().expect("an address");
        let args = SimulateArgs { listen, scenario: None, seed: None };
        let failure = serve(&args, Scenario::default(), async {}).await.expect_err("in use");
        assert_eq!(failure.code(), 1);
        assert!(failure.messages()[0].starts_with(&format!("failed to listen on {listen}: ")), "{failure:?}");
    }
}
