//! What every image keeps to.

use super::*;

/// Fault 14 of the predecessor: `/tmp` that only root can write, no users, no certificates, a shell by luck.
#[test]
fn every_image_keeps_the_contract() {
    let image = image(&[package("hello", &["bin/hello", "share/doc/hello"])]);
    let root = root(&image);
    for (path, mode, owner) in [
        ("tmp", 0o1777, 0),
        ("var/tmp", 0o1777, 0),
        ("root", 0o700, 0),
        ("home/user", 0o755, 1000),
        ("etc", 0o755, 0),
        ("proc", 0o555, 0),
        ("sys", 0o555, 0),
        ("dev", 0o755, 0),
        ("run", 0o755, 0),
        ("usr/bin", 0o755, 0),
    ] {
        assert_eq!(root.get(path), Some(&('d', mode, owner, String::new())), "{path}");
    }
    let store = |name: &str, path: &str| format!("{}/{path}", store_path(name));
    assert_eq!(link(&root, "bin/sh"), store("bashInteractive", "bin/sh"));
    assert_eq!(link(&root, "usr/bin/env"), store("coreutils", "bin/env"));
    assert_eq!(link(&root, "bin/hello"), store("hello", "bin/hello"));
    assert_eq!(
        link(&root, "share"),
        store("hello", "share"),
        "one package: one link"
    );
    assert!(
        !root.contains_key("bin/ls") && !root.contains_key("bin/bash"),
        "the base stays off the path"
    );
    for bundle in [
        "ssl/certs/ca-bundle.crt",
        "ssl/certs/ca-certificates.crt",
        "ssl/cert.pem",
        "pki/tls/certs/ca-bundle.crt",
    ] {
        assert_eq!(
            link(&root, &format!("etc/{bundle}")),
            store("cacert", "etc/ssl/certs/ca-bundle.crt")
        );
    }
    assert_eq!(link(&root, "etc/services"), store("iana-etc", "etc/services"));
    for (file, text) in [
        ("etc/passwd", "user:x:1000:1000"),
        ("etc/group", "nobody:x:65534"),
        ("etc/nsswitch.conf", "hosts: files dns"),
    ] {
        assert!(root[file].3.contains(text), "{file}");
    }
    for mounted in ["etc/hosts", "etc/resolv.conf", "etc/hostname"] {
        assert!(!root.contains_key(mounted));
    }
    let config = &config(&image)["config"];
    let env: Vec<_> = config["Env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_str().unwrap())
        .collect();
    assert_eq!(
        env[1..],
        [
            "LANG=C.UTF-8",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt",
            "NIX_SSL_CERT_FILE=/etc/ssl/certs/ca-bundle.crt"
        ]
    );
    assert!(env[0].starts_with("PATH=/usr/local/sbin:") && env[0].ends_with(":/bin"));
}

#[test]
fn packages_that_were_asked_for_come_before_the_base() {
    let mut sh = package("dash", &["bin/sh", "bin/env"]);
    sh.priority = 3;
    let root = root(&image(&[sh]));
    assert_eq!(link(&root, "bin"), format!("{}/bin", store_path("dash")));
    assert_eq!(
        link(&root, "usr/bin/env"),
        format!("{}/bin/env", store_path("dash"))
    );
}

#[test]
fn an_image_without_a_base_still_is_one() {
    let Outcome::Image(image) = outcome(&[package("hello", &["bin/hello"])], &[], &BTreeMap::new()) else {
        panic!()
    };
    let root = root(&image);
    assert!(!root.contains_key("bin/sh") && !root.contains_key("usr/bin/env"));
    assert_eq!(config(&image)["config"]["Cmd"][0], "/bin/hello");
}

#[test]
fn a_package_cannot_take_the_place_of_the_contract() {
    let files = [
        "etc/passwd",
        "etc/ssl/certs/ca-bundle.crt",
        "etc/ssl/openssl.cnf",
        "tmp/x",
        "nix/store/x",
        "proc/x",
        "root/.profile",
        "var/x",
        "usr/bin/env",
    ];
    let root = root(&image(&[package("greedy", &files)]));
    assert!(root["etc/passwd"].3.starts_with("root:x:0:0"));
    assert_eq!(
        link(&root, "etc/ssl/certs/ca-bundle.crt"),
        format!("{}/etc/ssl/certs/ca-bundle.crt", store_path("cacert"))
    );
    assert_eq!(
        link(&root, "etc/ssl/openssl.cnf"),
        format!("{}/etc/ssl/openssl.cnf", store_path("greedy"))
    );
    assert_eq!(root["tmp"].1, 0o1777);
    assert!(
        !root
            .keys()
            .any(|path| path.starts_with("nix") || path.ends_with("/x") || path.ends_with(".profile"))
    );
}

#[test]
fn the_command_is_what_one_would_expect() {
    let command = |packages: &[Package]| {
        config(&image(packages))["config"]["Cmd"][0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let hello = package("hello", &["bin/hello", "bin/other"]);
    let mut ripgrep = package("ripgrep", &["bin/rg", "bin/x"]);
    assert_eq!(command(std::slice::from_ref(&hello)), "/bin/hello");
    assert_eq!(command(&[package("one", &["bin/single"])]), "/bin/single");
    assert_eq!(command(std::slice::from_ref(&ripgrep)), "/bin/sh");
    ripgrep.main_program = Some("rg".to_owned());
    assert_eq!(command(std::slice::from_ref(&ripgrep)), "/bin/rg");
    assert_eq!(command(&[hello.clone(), ripgrep.clone()]), "/bin/sh");
    assert_eq!(
        command(&[hello, package("bashInteractive", &["bin/bash", "bin/sh"])]),
        "/bin/bash"
    );
    ripgrep.main_program = Some("../../etc/passwd".to_owned());
    assert_eq!(command(&[ripgrep]), "/bin/sh");
}

/// Kubernetes fails on an image whose config has no `config`.
#[test]
fn the_config_is_complete_and_says_nothing_of_a_machine() {
    let image = image(&[package("hello", &["bin/hello"]), package("git", &["bin/git"])]);
    let config = config(&image);
    assert!(config["config"].is_object());
    assert_eq!(
        (config["architecture"].as_str(), config["os"].as_str()),
        (Some("amd64"), Some("linux"))
    );
    assert_eq!(
        config["config"]["Labels"]["laminix.packages"],
        "git 1.0, hello 1.0"
    );
    assert!(
        !String::from_utf8_lossy(&image.config.bytes).contains("/set"),
        "a path of the machine"
    );
    let manifest: serde_json::Value = serde_json::from_slice(&image.oci.bytes).unwrap();
    let layers = manifest["layers"].as_array().unwrap().len();
    assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), layers);
    assert_eq!(config["history"].as_array().unwrap().len(), layers);
    assert_eq!(
        manifest["layers"][layers - 1]["digest"],
        image.root.digest.to_string()
    );
    let docker: serde_json::Value = serde_json::from_slice(&image.docker.unwrap().bytes).unwrap();
    assert_eq!(docker["config"]["digest"], manifest["config"]["digest"]);
    assert_eq!(docker["mediaType"], manifest::DOCKER);
}
