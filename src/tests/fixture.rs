//! A registry in a directory of its own, and somebody who plays the worker.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, Uri};
use http_body_util::BodyExt as _;
use laminix::body::Body;
use laminix::config::Config;
use laminix::digest::Digest;
use laminix::job::Work;
use laminix::key::{Key, PackageRef, TagRef};
use laminix::name::{Attribute, System, Tag};
use laminix::queue::Queue;
use laminix::record::{
    Compression, Content, Layer, Node, Output, Package, PackageRecord, Packed, SourceRecord, now,
};
use laminix::registry::App;
use laminix::source::{Revision, Source};
use laminix::store::Store;
use tempfile::TempDir;

/// A registry and its places, which go when this is dropped.
pub(crate) struct Registry {
    pub(crate) app: App,
    pub(crate) store: Store,
    pub(crate) queue: Queue,
    pub(crate) source: Source,
    pub(crate) config: Config,
    pub(crate) directory: TempDir,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) async fn read(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes().to_vec();
        Self {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body,
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().expect("visible ASCII"))
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    /// The code and the message of an error.
    pub(crate) fn error(&self) -> (String, String) {
        let error = &self.json()["errors"][0];
        let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
        (text("code"), text("message"))
    }
}

impl Registry {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    /// With some variables set otherwise.
    pub(crate) async fn with(variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let place = |name: &str| format!("file://{}/{name}", directory.path().display());
        let (store, queue) = (place("store"), place("queue"));
        Self::at(directory, &store, &queue, variables).await
    }

    /// On a store and a queue elsewhere.
    pub(crate) async fn at(directory: TempDir, store: &str, queue: &str, variables: &[(&str, &str)]) -> Self {
        let config = Config::parse(&|name| match variables.iter().find(|(key, _)| *key == name) {
            Some((_, value)) => Some((*value).to_owned()),
            None => match name {
                "LAMINIX_STORE" => Some(store.to_owned()),
                "LAMINIX_QUEUE" => Some(queue.to_owned()),
                "LAMINIX_SOURCE" => Some("git+file:///set".to_owned()),
                "LAMINIX_HOP" => Some("3s".to_owned()),
                _ => None,
            },
        })
        .expect("a configuration");
        let (source, store) = (
            config.source.clone(),
            Store::open(store, &|_| None).await.expect("a store"),
        );
        let queue = Queue::open(queue).await.expect("a queue");
        let app = App::new(config.clone(), store.clone(), queue.clone());
        Self {
            app,
            store,
            queue,
            source,
            config,
            directory,
        }
    }

    /// Another function on the same store and queue, which remembers nothing.
    pub(crate) fn another(&self) -> App {
        App::new(self.config.clone(), self.store.clone(), self.queue.clone())
    }

    /// From now on whatever touches this part of the store fails, until it is mended.
    pub(crate) fn break_part(&self, part: &str) {
        let place = self.directory.path().join("store").join(part);
        if place.exists() {
            std::fs::remove_dir_all(&place).expect("removed");
        }
        std::os::unix::fs::symlink(&place, &place).expect("a link to itself");
    }

    pub(crate) fn mend_part(&self, part: &str) {
        std::fs::remove_file(self.directory.path().join("store").join(part)).expect("removed");
    }

    pub(crate) async fn ask(&self, method: Method, target: &str, headers: &[(&str, &str)]) -> Answer {
        let uri: Uri = target.parse().unwrap_or_else(|error| panic!("{target}: {error}"));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        Answer::read(self.app.answer(&method, &uri, &map).await).await
    }

    pub(crate) async fn get(&self, target: &str) -> Answer {
        self.ask(Method::GET, target, &[]).await
    }

    /// What `latest` names from now on, resolved so many seconds ago.
    pub(crate) async fn resolve(&self, tag: &str, age: u64) -> Revision {
        let revision: Revision = "1".repeat(40).parse().expect("a revision");
        let record = SourceRecord::Resolved {
            revision: revision.clone(),
            at: now() - age,
            fixed: false,
            next: None,
        };
        let key = Key::Source(TagRef {
            source: self.source.id(),
            tag: tag.parse().expect("a tag"),
        });
        self.store
            .put(&key, serde_json::to_vec(&record).expect("json").into())
            .await
            .expect("put");
        revision
    }

    pub(crate) async fn record(&self, attribute: &str, record: &PackageRecord) {
        let key = Key::Package(PackageRef {
            source: self.source.id(),
            revision: "1".repeat(40).parse().expect("a revision"),
            system: System::Amd64,
            attribute: attribute.parse().expect("an attribute"),
        });
        self.store
            .put(&key, serde_json::to_vec(record).expect("json").into())
            .await
            .expect("put");
    }

    /// Makes an image that can be pulled: `latest` is resolved, `hello` and the base are recorded.
    pub(crate) async fn warm(&self) {
        self.resolve("latest", 0).await;
        for attribute in ["hello", "bashInteractive", "cacert", "coreutils", "iana-etc"] {
            self.record(attribute, &self.package(attribute).await).await;
        }
    }

    /// A package of one layer, which is stored.
    pub(crate) async fn package(&self, attribute: &str) -> PackageRecord {
        let blob = format!("the layer of {attribute}").into_bytes();
        let digest = Digest::of(&blob);
        let size = blob.len() as u64;
        self.store
            .put(&Key::Blob(digest), blob.into())
            .await
            .expect("put");
        let hash: String = digest.hex().replace('e', "z").chars().take(32).collect();
        let path = format!("/nix/store/{hash}-{attribute}")
            .parse()
            .expect("a store path");
        let bin = [
            ("sh", "bashInteractive"),
            ("env", "coreutils"),
            (attribute, attribute),
        ];
        let bin = bin
            .iter()
            .filter(|(_, of)| *of == attribute)
            .map(|(name, _)| ((*name).to_owned(), Node::Leaf(())));
        let packed = Packed {
            digest,
            size,
            diff_id: digest,
            unpacked: size,
            compression: Compression::Gzip,
        };
        let contents = vec![Content {
            path,
            nar_hash: format!("sha256:{attribute}"),
            nar_size: size,
        }];
        let output = Output {
            path: contents[0].path.clone(),
            tree: [("bin".to_owned(), Node::Directory(bin.collect()))].into(),
        };
        PackageRecord::Ready(Box::new(Package {
            attribute: attribute.parse().expect("an attribute"),
            name: format!("{attribute}-1.0"),
            version: Some("1.0".to_owned()),
            description: None,
            licenses: Vec::new(),
            homepage: None,
            main_program: None,
            priority: 5,
            outputs: vec![output],
            layers: vec![Layer {
                packed,
                tail: false,
                contents,
            }],
        }))
    }

    /// Takes one job and does it as a worker would, but for Nix: `outcome` says what becomes of each attribute.
    pub(crate) async fn work(&self, outcome: impl AsyncFn(&Attribute) -> PackageRecord) -> Work {
        let delivery = self
            .queue
            .receive(Duration::from_secs(5))
            .await
            .expect("receive")
            .expect("a job");
        let work = delivery.job.expect("a good job").work;
        match &work {
            Work::Resolve { tag, .. } => {
                self.resolve(Tag::as_str(tag), 0).await;
            }
            Work::Build { attributes, .. } => {
                for attribute in attributes {
                    self.record(attribute.as_str(), &outcome(attribute).await).await;
                }
            }
            Work::Merge { .. } | Work::Warm { .. } => panic!("{work:?}"),
        }
        self.queue.complete(&delivery.receipt).await.expect("complete");
        work
    }
}
