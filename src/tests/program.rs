//! The program itself: its exit codes, its words, and how it ends.

#![expect(
    clippy::disallowed_methods,
    reason = "the program is started as its users start it"
)]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn laminix(variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_laminix"));
    command.env_clear().envs(variables.iter().copied());
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn wrong_use_is_told_in_words_and_by_the_exit_code() {
    let (code, _, problems) = said(&laminix(&[("LAMINIX_LISTEN", "nowhere")]).output().unwrap());
    assert_eq!(code, Some(64));
    for variable in [
        "LAMINIX_STORE",
        "LAMINIX_QUEUE",
        "LAMINIX_SOURCE",
        "LAMINIX_LISTEN",
    ] {
        assert!(problems.contains(variable), "{problems}");
    }
    let (code, _, help) = said(&laminix(&[]).arg("shine").output().unwrap());
    assert!(code == Some(64) && help.contains("usage:"), "{help}");
    let places = [
        ("LAMINIX_STORE", "file:///dev/null/store"),
        ("LAMINIX_QUEUE", "file:///dev/null/queue"),
        ("LAMINIX_SOURCE", "path:/set"),
    ];
    let (code, _, problem) = said(&laminix(&places).output().unwrap());
    assert!(
        code == Some(64) && problem.contains("store's directory"),
        "{problem}"
    );
}

#[test]
fn help_and_version_are_on_stdout() {
    let (code, help, _) = said(&laminix(&[]).arg("--help").output().unwrap());
    assert!(code == Some(0) && help.contains("LAMINIX_STORE"), "{help}");
    let (code, version, _) = said(&laminix(&[]).arg("--version").output().unwrap());
    assert_eq!(
        (code, version),
        (Some(0), format!("laminix {}\n", env!("CARGO_PKG_VERSION")))
    );
}

/// A server that goes with the test.
struct Server {
    child: Child,
    address: String,
    _directory: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| format!("file://{}/{name}", directory.path().display());
        let child = laminix(&[
            ("LAMINIX_STORE", &place("store")),
            ("LAMINIX_QUEUE", &place("queue")),
            ("LAMINIX_SOURCE", "git+file:///set"),
            ("LAMINIX_LISTEN", "127.0.0.1:0"),
            ("LAMINIX_HOP", "2s"),
            ("LAMINIX_LOG_FORMAT", "json"),
        ])
        .arg("serve")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
        // from here on it ends with this, whatever fails
        let mut server = Self {
            child,
            address: String::new(),
            _directory: directory,
        };
        let mut log = BufReader::new(server.child.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let line: serde_json::Value = serde_json::from_str(&line).unwrap();
        server.address = line["listen"].as_str().unwrap().to_owned();
        // a pipe that nobody reads would stop the server
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        server
    }

    fn ask(&self, target: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(
            stream,
            "GET {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        stream
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // it has ended, unless the test failed
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read(mut stream: TcpStream) -> String {
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// Fault 18 of the predecessor: no health, no graceful stop.
#[test]
fn a_server_told_to_stop_finishes_what_it_began() {
    for signal in ["-TERM", "-INT"] {
        let mut server = Server::start();
        assert!(read(server.ask("/healthz")).starts_with("HTTP/1.1 200"));
        // a connection that is kept open and asks for nothing holds nobody up
        let _idle = TcpStream::connect(&server.address).unwrap();
        let pull = server.ask("/v2/hello/manifests/latest");
        std::thread::sleep(Duration::from_millis(500));
        server.signal(signal);
        let began = Instant::now();
        assert!(read(pull).starts_with("HTTP/1.1 307"));
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "{signal}");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    }
}
