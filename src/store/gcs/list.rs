//! The objects below a prefix, page by page (<https://cloud.google.com/storage/docs/json_api/v1/objects/list>).

use aws_sdk_s3::primitives::{DateTime, DateTimeFormat};
use http::Method;
use serde::Deserialize;

use super::client::{Call, Client};
use super::fault::Fault;
use super::place::{Place, encode};
use crate::key::Prefix;
use crate::record::Seconds;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    #[serde(default)]
    items: Vec<Item>,
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Item {
    name: String,
    updated: String,
}

impl Client {
    /// Their names behind the prefix, and when they were written.
    pub(super) async fn list(&self, place: &Place, prefix: &Prefix) -> Result<Vec<(String, Seconds)>, Fault> {
        let prefix = place.below(prefix);
        let url = format!(
            "{}?prefix={}&fields=nextPageToken,items(name,updated)",
            place.objects(),
            encode(&prefix)
        );
        let (mut objects, mut token): (_, Option<String>) = (Vec::new(), None);
        loop {
            let page = match &token {
                Some(token) => format!("{url}&pageToken={}", encode(token)),
                None => url.clone(),
            };
            let reply = self.call(&Call::new(Method::GET, page), &[]).await?;
            let page: Page = serde_json::from_slice(&reply.body).map_err(Fault::broken)?;
            for Item { name, updated } in page.items {
                let written = DateTime::from_str(&updated, DateTimeFormat::DateTimeWithOffset);
                let written = written.map_err(Fault::broken)?.secs();
                if let (Some(name), Ok(written)) = (name.strip_prefix(&prefix), written.try_into()) {
                    objects.push((name.to_owned(), written));
                }
            }
            token = page.next_page_token.filter(|token| !token.is_empty());
            if token.is_none() {
                return Ok(objects);
            }
        }
    }
}
