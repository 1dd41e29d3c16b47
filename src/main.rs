//! The request function and its commands: wiring only.

use std::process::ExitCode;

use laminix::command::{Command, USAGE};
use laminix::config::{Config, environment};
use laminix::lambda;
use laminix::queue::Queue;
use laminix::registry::App;
use laminix::server;
use laminix::store::Store;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = std::env::args_os().skip(1);
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    match Command::parse(&arguments) {
        Ok(Command::Serve) => {
            laminix::log::init();
            laminix::log::exit(serve().await, USAGE)
        }
        Ok(command) => {
            // it says itself what there is to say
            laminix::log::init_at("error");
            command.run(&environment).await
        }
        Err(problem) => laminix::log::exit(Err(vec![problem]), USAGE),
    }
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
