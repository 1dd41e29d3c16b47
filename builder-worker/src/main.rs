//! The worker: wiring only.

use std::process::ExitCode;
use std::sync::Arc;
use std::thread::available_parallelism;

use anyhow::Context as _;
use laminix::config::environment;
use laminix::queue::Queue;
use laminix::server::Signals;
use laminix::store::Store;
use laminix_builder::carry::Carrier;
use laminix_builder::collect::Collector;
use laminix_builder::config::Config;
use laminix_builder::job::Workshop;
use laminix_builder::nix::Nix;
use laminix_builder::pack::Packer;
use laminix_builder::realise::forget_roots;
use laminix_builder::source::Resolver;
use laminix_builder::status::Status;
use laminix_builder::worker::Worker;
use tokio::net::TcpListener;

/// The exit code for wrong configuration (sysexits.h).
const USAGE: u8 = 64;

#[tokio::main]
async fn main() -> ExitCode {
    laminix::log::init();
    match Config::parse(&environment) {
        Ok(config) => laminix::log::exit(work(config).await.map_err(|error| vec![format!("{error:#}")]), 1),
        Err(problems) => laminix::log::exit(Err(problems), USAGE),
    }
}

async fn work(config: Config) -> anyhow::Result<()> {
    let store = Store::open(&config.shared.store, &environment)
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
    let workshop = Arc::new(Workshop {
        store,
        resolver,
        nix,
        packer: Arc::new(packer),
        compression: config.compression,
        collector: Collector::new(config.free),
        carrier: Carrier::new(config.carry, config.carry_time),
    });
    let worker = Worker::new(Arc::clone(&workshop), queue, config.jobs.get(), config.drain);
    let meters = worker.meters.clone();
    if let Some(address) = config.status {
        let listener = TcpListener::bind(address)
            .await
            .with_context(|| format!("cannot listen on {address}"))?;
        let status = Status::new(Arc::clone(&workshop), meters.clone());
        // until the process ends: a worker that drains is to be seen
        tokio::spawn(status.serve(listener, std::future::pending()));
    }
    tracing::info!(source = %workshop.resolver.source(), jobs = worker.jobs, "taking jobs");
    let mut signals = Signals::listen();
    tokio::select! {
        () = worker.run(async || signals.next().await) => Ok(()),
        never = workshop.collector.run(&workshop.nix, &workshop.resolver, &meters) => never,
    }
}
