//! Tokens and signatures, as a server sees them.

use ::http::Method;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde_json::{Value, json};

use super::super::client::Client;
use super::super::credentials::{
    CREDENTIALS, CREDENTIALS_FILE, Credentials, SIGNING_ACCOUNT, SIGNING_KEY, Signing,
};
use super::super::http::Http;
use super::super::place::Place;
use super::super::token::{Grant, Tokens};
use super::super::{GcsStore, Inner};
use super::fake::{Act, Fake, SHORT, Seen, store_at};
use crate::digest::Digest;
use crate::key::Key;
use crate::store::StoreError;

const PEM: &str = include_str!("../../../tests/gcs/test_key.pem");
const EMAIL: &str = "laminix+test@project-1.iam.gserviceaccount.com";

fn parse(variables: &[(&str, &str)]) -> Result<Credentials, String> {
    Credentials::parse(&|name| {
        let found = variables.iter().find(|(key, _)| *key == name);
        found.map(|(_, value)| (*value).to_owned())
    })
}

fn service_account(fake: &Fake, key_id: &str) -> String {
    json!({
        "type": "service_account",
        "client_email": EMAIL,
        "private_key": PEM,
        "private_key_id": key_id,
        "token_uri": format!("http://{}/token", fake.address),
    })
    .to_string()
}

/// A store whose requests carry tokens although they go in the clear: what a server of Google's would see.
fn with_tokens(fake: &Fake, credentials: Credentials) -> GcsStore {
    let tokens = Some(Tokens::new(credentials.grant));
    GcsStore(Arc::new(Inner {
        place: Place::parse(&format!("bucket?endpoint=http://{}", fake.address)).unwrap(),
        client: Client::new(Http::new(false).unwrap(), tokens, SHORT),
        signing: credentials.signing,
        iam: format!("http://{}", fake.address),
    }))
}

/// Gives out tokens `t0`, `t1`, … by the number of the request, for a time in seconds, and objects.
fn google(life: u64) -> impl Fn(usize, &Seen) -> Act + Send + Sync + 'static {
    move |n, seen| match seen.target.as_str() {
        "/token" | "/computeMetadata/v1/instance/service-accounts/default/token" => {
            Act::json(&json!({"access_token": format!("t{n}"), "expires_in": life, "token_type": "Bearer"}))
        }
        _ => Act::Answer(200, Vec::new(), Bytes::from_static(b"content")),
    }
}

async fn get(store: &GcsStore) -> Result<Option<Bytes>, StoreError> {
    store.get(&Key::Manifest(Digest::of(b"content"))).await
}

/// Targets and Authorization headers.
fn asked(fake: &Fake) -> Vec<(String, String)> {
    let short = |target: &str| target.rsplit('/').next().unwrap().chars().take(5).collect();
    fake.seen()
        .iter()
        .map(|seen| (short(&seen.target), seen.header("authorization").to_owned()))
        .collect()
}

fn decoded(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn a_key_with_its_id_needs_no_call_for_a_token() {
    let fake = Fake::start(google(3600)).await;
    let credentials = parse(&[(CREDENTIALS, &service_account(&fake, "key-1"))]).unwrap();
    let Grant::Account(account) = &credentials.grant else {
        panic!("no account")
    };
    let account = Arc::clone(account);
    let store = with_tokens(&fake, credentials);
    get(&store).await.unwrap().unwrap();
    get(&store).await.unwrap().unwrap();
    let asked = asked(&fake);
    assert_eq!(asked.len(), 2, "{asked:?}");
    let token = asked[0].1.strip_prefix("Bearer ").unwrap();
    assert_eq!(asked[0].1, asked[1].1, "it is kept");
    let parts: Vec<&str> = token.split('.').collect();
    assert_eq!(
        decoded(parts[0]),
        json!({"alg": "RS256", "typ": "JWT", "kid": "key-1"})
    );
    let claims = decoded(parts[1]);
    assert_eq!((&claims["iss"], &claims["sub"]), (&json!(EMAIL), &json!(EMAIL)));
    assert_eq!(
        claims["scope"],
        "https://www.googleapis.com/auth/devstorage.read_write"
    );
    assert_eq!(
        claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(),
        3600
    );
    assert!(claims.get("aud").is_none());
    let signature = account
        .sign(format!("{}.{}", parts[0], parts[1]).as_bytes())
        .unwrap();
    assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap(), signature);
}

#[tokio::test]
async fn a_key_without_an_id_is_exchanged_once() {
    let fake = Fake::start(google(3600)).await;
    let store = with_tokens(
        &fake,
        parse(&[(CREDENTIALS, &service_account(&fake, ""))]).unwrap(),
    );
    get(&store).await.unwrap().unwrap();
    get(&store).await.unwrap().unwrap();
    let token = |text: &str| (text.to_owned(), String::new());
    let object = |text: &str| (text.to_owned(), "Bearer t0".to_owned());
    assert_eq!(asked(&fake), [token("token"), object("manif"), object("manif")]);
    let form = String::from_utf8(fake.seen()[0].body.to_vec()).unwrap();
    let assertion = form
        .strip_prefix("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=")
        .unwrap();
    let claims = decoded(assertion.split('.').nth(1).unwrap());
    assert_eq!(claims["aud"], json!(format!("http://{}/token", fake.address)));
}

#[tokio::test]
async fn a_person_and_a_machine_have_tokens_too() {
    let fake = Fake::start(google(3600)).await;
    let user = json!({
        "type": "authorized_user",
        "client_id": "i d",
        "client_secret": "s&",
        "refresh_token": "r/+",
        "token_uri": format!("http://{}/token", fake.address),
    });
    get(&with_tokens(
        &fake,
        parse(&[(CREDENTIALS, &user.to_string())]).unwrap(),
    ))
    .await
    .unwrap();
    let form = "grant_type=refresh_token&client_id=i%20d&client_secret=s%26&refresh_token=r%2F%2B";
    assert_eq!(fake.seen()[0].body, form);
    assert_eq!(
        fake.seen()[0].header("content-type"),
        "application/x-www-form-urlencoded"
    );

    let fake = Fake::start(google(3600)).await;
    let machine = parse(&[("GCE_METADATA_HOST", &fake.address)]).unwrap();
    get(&with_tokens(&fake, machine)).await.unwrap();
    assert_eq!(fake.seen()[0].header("metadata-flavor"), "Google");
    assert_eq!(asked(&fake)[1].1, "Bearer t0");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_when_it_is_refused() {
    let fake = Fake::start(google(200)).await;
    let store = with_tokens(&fake, parse(&[("GCE_METADATA_HOST", &fake.address)]).unwrap());
    get(&store).await.unwrap();
    get(&store).await.unwrap();
    let tokens: Vec<_> = asked(&fake).into_iter().map(|(_, token)| token).collect();
    assert_eq!(tokens, ["", "Bearer t0", "", "Bearer t2"]);

    let good = google(3600);
    let fake = Fake::start(move |n, seen| match seen.header("authorization") {
        "Bearer t0" => Act::status(401),
        _ => good(n, seen),
    })
    .await;
    let store = with_tokens(&fake, parse(&[("GCE_METADATA_HOST", &fake.address)]).unwrap());
    assert!(get(&store).await.unwrap().is_some());
    let tokens: Vec<_> = asked(&fake).into_iter().map(|(_, token)| token).collect();
    assert_eq!(tokens, ["", "Bearer t0", "", "Bearer t2"]);
}

#[tokio::test]
async fn what_gives_no_token_has_a_kind() {
    for (act, kind) in [
        (Act::status(400), "Refused"),
        (Act::status(404), "Refused"),
        (Act::status(401), "Refused"),
        (Act::status(503), "Busy"),
        (Act::Stall, "Busy"),
        (Act::json(&json!({"id_token": "x"})), "Broken"),
    ] {
        let case = format!("{act:?}");
        let fake = Fake::start(move |_, _| act.clone()).await;
        let store = with_tokens(&fake, parse(&[("GCE_METADATA_HOST", &fake.address)]).unwrap());
        let error = get(&store).await.unwrap_err();
        assert!(format!("{error:?}").starts_with(kind), "{case}: {error:?}");
    }
}

#[tokio::test]
async fn what_goes_in_the_clear_carries_no_token() {
    let fake = Fake::start(google(3600)).await;
    let variables = service_account(&fake, "key-1");
    let store = GcsStore::parse(&format!("bucket?endpoint=http://{}", fake.address), &|name| {
        (name == CREDENTIALS).then(|| variables.clone())
    });
    get(&store.unwrap()).await.unwrap();
    assert_eq!(asked(&fake), [("manif".to_owned(), String::new())]);
}

#[tokio::test]
async fn a_key_at_hand_signs_without_a_call() {
    let fake = Fake::start(google(3600)).await;
    let digest = Digest::of(b"x");
    let store = with_tokens(
        &fake,
        parse(&[(SIGNING_KEY, PEM), (SIGNING_ACCOUNT, EMAIL)]).unwrap(),
    );
    let url = store.presign(&digest, &Method::GET).await.unwrap();
    let head = format!(
        "http://{}/bucket/blobs/sha256/{}?X-Goog-Algorithm=GOOG4-RSA-SHA256&",
        fake.address,
        digest.hex()
    );
    assert!(
        url.starts_with(&head) && url.contains("&X-Goog-Expires=900&"),
        "{url}"
    );
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn google_signs_for_an_account_that_is_named() {
    let signature = vec![7; 256];
    let (good, signed) = (google(3600), STANDARD.encode(&signature));
    let fake = Fake::start(move |n, seen| match seen.target.ends_with(":signBlob") {
        true => Act::json(&json!({"keyId": "k", "signedBlob": signed})),
        false => good(n, seen),
    })
    .await;
    let variables = [
        ("GCE_METADATA_HOST", fake.address.as_str()),
        (SIGNING_ACCOUNT, EMAIL),
    ];
    let store = with_tokens(&fake, parse(&variables).unwrap());
    let url = store.presign(&Digest::of(b"x"), &Method::GET).await.unwrap();
    assert!(
        url.ends_with(&format!("&X-Goog-Signature={}", hex::encode(&signature))),
        "{url}"
    );
    let asked = &fake.seen()[1];
    assert_eq!(
        (asked.target.as_str(), asked.header("authorization")),
        (
            "/v1/projects/-/serviceAccounts/laminix%2Btest%40project-1.iam.gserviceaccount.com:signBlob",
            "Bearer t0"
        )
    );
    let payload: Value = serde_json::from_slice(&asked.body).unwrap();
    let text = STANDARD.decode(payload["payload"].as_str().unwrap()).unwrap();
    assert!(text.starts_with(b"GOOG4-RSA-SHA256\n"));
}

#[tokio::test]
async fn without_a_signer_urls_are_public() {
    let store = store_at("127.0.0.1:1");
    let digest = Digest::of(b"x");
    let url = store.presign(&digest, &Method::GET).await.unwrap();
    assert_eq!(
        url,
        format!("http://127.0.0.1:1/bucket/p/blobs/sha256/{}", digest.hex())
    );
    let google = GcsStore::parse("bucket/p", &|_| None).unwrap();
    let url = google.presign(&digest, &Method::GET).await.unwrap();
    assert_eq!(
        url,
        format!(
            "https://storage.googleapis.com/bucket/p/blobs/sha256/{}",
            digest.hex()
        )
    );
}

#[test]
fn credentials_are_found_in_order() {
    let directory = tempfile::tempdir().unwrap();
    let account = |email: &str| {
        json!({"type": "service_account", "client_email": email, "private_key": PEM}).to_string()
    };
    let file = directory.path().join("file.json");
    std::fs::write(&file, account("file")).unwrap();
    std::fs::write(
        directory.path().join("application_default_credentials.json"),
        account("gcloud"),
    )
    .unwrap();
    let home = tempfile::tempdir().unwrap();
    let given = account("variable");
    let all = [
        (SIGNING_KEY, PEM),
        (SIGNING_ACCOUNT, "nixery"),
        (CREDENTIALS, given.as_str()),
        (CREDENTIALS_FILE, file.to_str().unwrap()),
        ("CLOUDSDK_CONFIG", directory.path().to_str().unwrap()),
        ("HOME", home.path().to_str().unwrap()),
    ];
    let who = |variables: &[(&str, &str)]| match parse(variables).unwrap() {
        Credentials {
            grant: Grant::Machine(host),
            signing: Signing::Public,
        } => host,
        Credentials {
            signing: Signing::Local(account),
            ..
        } => account.email.clone(),
        other => format!("{other:?}"),
    };
    assert_eq!(who(&all), "nixery");
    assert_eq!(who(&all[2..]), "variable");
    assert_eq!(who(&all[3..]), "file");
    assert_eq!(who(&all[4..]), "gcloud");
    assert_eq!(who(&all[5..]), "metadata.google.internal");
    // an account without a key signs by Google, and is no reason to look no further
    let remote = parse(&[(SIGNING_ACCOUNT, EMAIL)]).unwrap();
    assert!(
        matches!(&remote.signing, Signing::Remote(email) if email == EMAIL),
        "{remote:?}"
    );
    // what may be logged holds no secret
    let shown = format!("{:?}", parse(&all).unwrap());
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

#[tokio::test]
async fn a_machine_without_credentials_is_told_so() {
    // port 1 answers nobody
    let store = GcsStore::parse("bucket", &|name| {
        (name == "GCE_METADATA_HOST").then(|| "127.0.0.1:1".to_owned())
    });
    let mut inner = Arc::into_inner(store.unwrap().0).unwrap();
    inner.client.patience = SHORT;
    let problem = GcsStore(Arc::new(inner)).open().await.unwrap_err();
    assert!(
        problem.contains("there are no credentials") && problem.contains(CREDENTIALS_FILE),
        "{problem}"
    );
    assert!(SHORT.budget < Duration::from_secs(2));
}
