//! The request function and its commands: wiring only.

use std::process::ExitCode;

use laminix::config::{Config, environment};
use laminix::lambda;
use laminix::queue::Queue;
use laminix::registry::App;
use laminix::server;
use laminix::store::Store;

const HELP: &str = "\
laminix: a container registry whose images are made on demand from Nix packages

usage: laminix [serve]      answer requests on LAMINIX_LISTEN
       laminix --help
       laminix --version

LAMINIX_STORE, LAMINIX_QUEUE and LAMINIX_SOURCE say where objects, jobs and packages are.
";

/// The exit code for wrong use or configuration (sysexits.h).
const USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    laminix::log::init();
    let command = std::env::args().nth(1);
    let done = match command.as_deref() {
        None | Some("serve") => serve().await,
        Some("--help" | "-h" | "help") => {
            print!("{HELP}");
            Ok(())
        }
        Some("--version" | "-V") => {
            println!("laminix {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        Some(_) => Err(vec![HELP.to_owned()]),
    };
    laminix::log::exit(done, USAGE)
}

async fn serve() -> Result<(), Vec<String>> {
    let config = Config::parse(&environment)?;
    let store = Store::open(&config.store, &environment)
        .await
        .map_err(|error| vec![error])?;
    let queue = Queue::open(&config.queue).await.map_err(|error| vec![error])?;
    if environment(lambda::RUNTIME).is_some() {
        let function = environment("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_else(|| "laminix".to_owned());
        let app = App::behind(lambda::FRONT, config, store, queue);
        return lambda::serve(app, function)
            .await
            .map_err(|error| vec![error.to_string()]);
    }
    let listen = config.listen;
    let served = server::serve(App::new(config, store, queue), listen, server::signal()).await;
    served.map_err(|error| vec![format!("cannot listen on {listen}: {error}")])
}
