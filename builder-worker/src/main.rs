//! The worker: wiring only.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use laminix::queue::Queue;
use laminix::server::signal;
use laminix::store::Store;
use laminix_builder::config::Config;
use laminix_builder::job::Workshop;
use laminix_builder::nix::Nix;
use laminix_builder::pack::Packer;
use laminix_builder::realise::forget_roots;
use laminix_builder::source::Resolver;
use laminix_builder::worker::Worker;

/// The exit code for wrong configuration (sysexits.h).
const USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    laminix::log::init();
    match Config::parse(&laminix::config::environment) {
        Ok(config) => laminix::log::exit(work(config).await.map_err(|error| vec![format!("{error:#}")]), 1),
        Err(problems) => laminix::log::exit(Err(problems), USAGE),
    }
}

async fn work(config: Config) -> anyhow::Result<()> {
    let store = Store::open(&config.shared.store, &laminix::config::environment)
        .await
        .map_err(anyhow::Error::msg)?;
    let queue = Queue::open(&config.shared.queue)
        .await
        .map_err(anyhow::Error::msg)?;
    let nix = Nix::open(config.nix).await?;
    forget_roots(&nix)?;
    let resolver = Resolver::open(config.shared.source, &config.state, config.branches, config.hosts)?;
    let work = config.state.join("work");
    // what a worker that was killed has left there
    std::fs::remove_dir_all(&work)?;
    std::fs::create_dir(&work)?;
    let packer = Packer::new("/".as_ref(), &work, available_parallelism()?)?;
    let workshop = Workshop {
        store,
        resolver,
        nix,
        packer: Arc::new(packer),
        compression: config.compression,
    };
    let worker = Worker::new(workshop, queue, config.jobs.get());
    tracing::info!(source = %worker.workshop.resolver.source(), jobs = worker.jobs, "taking jobs");
    worker.run(signal()).await;
    Ok(())
}
