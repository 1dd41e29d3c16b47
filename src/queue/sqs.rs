//! SQS, or what speaks its protocol, as the queue.
//!
//! `sqs://sqs.eu-central-1.amazonaws.com/123456789012/jobs` is the queue's own URL with another scheme. The region is in the
//! host's name; elsewhere `?region=…` names it, and `plain-http` says that the host has no TLS.
//!
//! A message's body is a job's JSON ([`crate::job`]), so that anybody who may can send one by hand:
//!
//! ```sh
//! aws sqs send-message --queue-url https://sqs.eu-central-1.amazonaws.com/123456789012/jobs --message-body \
//!   '{"format":1,"job":"warm","source":"channel:nixos-26.05","name":"shell/git","tag":"latest"}'
//! ```
//!
//! Each message is received, kept, and settled by itself: one that fails takes no other with it. What is parked goes to
//! the dead-letter queue of the queue's redrive policy, with the attribute `reason`. A message whose workers die without a
//! word goes there by the policy itself, whose `maxReceiveCount` should be [`Queue::ATTEMPTS`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::{Message, MessageAttributeValue, MessageSystemAttributeName, QueueAttributeName};
use serde::Deserialize;
use tokio::sync::OnceCell;
use tracing::error;

use super::{Delivery, Depth, Queue, QueueError, Receipt as AnyReceipt, Redrive};
use crate::address::Address;
use crate::aws::{self, ATTEMPT, Access};
use crate::job::Job;

/// The longest that SQS waits for a message.
const LONG_POLL: Duration = Duration::from_secs(20);

/// The longest that a message can be kept from others.
const LONGEST: Duration = Duration::from_secs(12 * 3600);

/// The most of a reason that goes with a parked message, in characters.
const REASON: usize = 2000;

/// A queue of SQS. Clones share their connections.
#[derive(Debug, Clone)]
pub struct SqsQueue {
    client: Client,
    place: Arc<Place>,
    visibility: Duration,
    parked: Arc<OnceCell<Option<String>>>,
}

/// A delivery: the handle that settles it, and what is needed to park it.
#[derive(Debug, Clone)]
pub struct Receipt {
    handle: String,
    body: String,
    attempt: u32,
    /// Before it was received: from then on SQS counts [`LONGEST`], however often a visibility time is set anew.
    asked: Instant,
}

impl Receipt {
    /// How long it can still be kept from others, less a minute for the way.
    fn left(&self) -> Duration {
        LONGEST.saturating_sub(self.asked.elapsed() + Duration::from_secs(60))
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Place {
    /// The queue's URL, as SQS knows it.
    url: String,
    access: Access,
}

impl Place {
    fn parse(rest: &str) -> Result<Self, String> {
        let mut address = Address::parse(rest)?;
        let scheme = if address.flag("plain-http")? {
            "http"
        } else {
            "https"
        };
        let named = address.option("region");
        let own = address.host.strip_prefix("sqs.");
        let own = own.and_then(|host| {
            host.strip_suffix(".amazonaws.com")
                .or(host.strip_suffix(".amazonaws.com.cn"))
        });
        let access = Access {
            region: named.or_else(|| own.map(str::to_owned)),
            endpoint: Some(format!("{scheme}://{}", address.host)),
            keys: None,
        };
        address.finish()?;
        if address.path.split('/').count() != 2 {
            return Err("it must be the queue's URL: sqs://host/account/name".to_owned());
        }
        Ok(Self {
            url: format!("{scheme}://{}/{}", address.host, address.path),
            access,
        })
    }
}

impl SqsQueue {
    /// The queue that this URL (without `sqs://`) names. Nothing is asked of the service yet.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(super) async fn open(rest: &str) -> Result<Self, String> {
        Self::open_with(rest, Queue::VISIBILITY).await
    }

    /// The same with another visibility time, in whole seconds.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub async fn open_with(rest: &str, visibility: Duration) -> Result<Self, String> {
        let place = Place::parse(rest)?;
        let service = aws::service(&place.access).await?;
        Ok(Self {
            client: Client::new(&service.sdk),
            place: Arc::new(place),
            visibility,
            parked: Arc::default(),
        })
    }

    pub(super) async fn send(&self, job: &Job) -> Result<(), QueueError> {
        let body = job.to_json().map_err(|error| QueueError("send", error.into()))?;
        let request = self
            .client
            .send_message()
            .queue_url(&self.place.url)
            .message_body(body);
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| QueueError("send", aws::told(error)))
    }

    pub(super) async fn receive(&self, wait: Duration) -> Result<Option<Delivery>, QueueError> {
        let asked = Instant::now();
        let wait = wait.min(LONG_POLL);
        // the answer comes when a message does
        let patient = TimeoutConfig::builder()
            .operation_attempt_timeout(wait + ATTEMPT)
            .operation_timeout((wait + ATTEMPT) * 2);
        let request = self
            .client
            .receive_message()
            .queue_url(&self.place.url)
            .max_number_of_messages(1)
            .visibility_timeout(seconds(self.visibility))
            .wait_time_seconds(seconds(wait))
            .message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let received = request
            .customize()
            .config_override(aws_sdk_sqs::Config::builder().timeout_config(patient.build()))
            .send()
            .await
            .map_err(|error| QueueError("receive", aws::told(error)))?;
        received
            .messages
            .unwrap_or_default()
            .into_iter()
            .next()
            .map(|message| delivery(message, asked))
            .transpose()
    }

    pub(super) async fn extend(&self, receipt: &Receipt, time: Duration) -> Result<(), QueueError> {
        let request = self.client.change_message_visibility().queue_url(&self.place.url);
        let request = request
            .receipt_handle(&receipt.handle)
            .visibility_timeout(seconds(time));
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| QueueError("extend", aws::told(error)))
    }

    pub(super) async fn complete(&self, receipt: &Receipt) -> Result<(), QueueError> {
        let request = self
            .client
            .delete_message()
            .queue_url(&self.place.url)
            .receipt_handle(&receipt.handle);
        request
            .send()
            .await
            .map(drop)
            .map_err(|error| QueueError("complete", aws::told(error)))
    }

    pub(super) async fn give_back(
        &self,
        receipt: &Receipt,
        delay: Duration,
        reason: &str,
    ) -> Result<bool, QueueError> {
        if receipt.attempt >= Queue::ATTEMPTS {
            return self.park(receipt, reason).await.map(|()| true);
        }
        self.extend(receipt, delay).await.map(|()| false)
    }

    pub(super) async fn park(&self, receipt: &Receipt, reason: &str) -> Result<(), QueueError> {
        let Some(parked) = self.parked().await? else {
            error!(
                reason,
                "the queue has no dead-letter queue: a message that failed is left in it, unseen for 12 h"
            );
            return self.extend(receipt, receipt.left()).await;
        };
        // letters of SQS's own set only, and never empty
        let reason: String = reason
            .chars()
            .filter(|c| !c.is_control() || *c == '\n')
            .take(REASON)
            .collect();
        let reason = MessageAttributeValue::builder()
            .data_type("String")
            .string_value(if reason.is_empty() { "no reason" } else { &reason })
            .build()
            .map_err(|error| QueueError("park", error.into()))?;
        let request = self
            .client
            .send_message()
            .queue_url(parked)
            .message_body(&receipt.body);
        request
            .message_attributes("reason", reason)
            .send()
            .await
            .map_err(|error| QueueError("park", aws::told(error)))?;
        self.complete(receipt).await
    }

    pub(super) async fn depth(&self) -> Result<Depth, QueueError> {
        let count = |attributes: &Attributes, name| {
            attributes
                .get(&name)
                .and_then(|count| count.parse::<usize>().ok())
                .unwrap_or(0)
        };
        let own = self.attributes(&self.place.url).await?;
        let parked = match self.parked().await? {
            Some(url) => count(
                &self.attributes(url).await?,
                QueueAttributeName::ApproximateNumberOfMessages,
            ),
            None => 0,
        };
        Ok(Depth {
            waiting: count(&own, QueueAttributeName::ApproximateNumberOfMessages)
                + count(&own, QueueAttributeName::ApproximateNumberOfMessagesDelayed),
            running: count(&own, QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
            parked,
        })
    }

    /// The dead-letter queue's URL, if there is such a queue; asked once.
    async fn parked(&self) -> Result<Option<&String>, QueueError> {
        let found = self
            .parked
            .get_or_try_init(|| async { Ok(self.redrive().await?.map(|redrive| redrive.to)) });
        found.await.map(Option::as_ref)
    }

    /// The queue's redrive policy, asked anew.
    pub(super) async fn redrive(&self) -> Result<Option<Redrive>, QueueError> {
        let own = self.attributes(&self.place.url).await?;
        let policy = own
            .get(&QueueAttributeName::RedrivePolicy)
            .filter(|policy| !policy.is_empty());
        let Some(policy) = policy else {
            return Ok(None);
        };
        let policy: Policy =
            serde_json::from_str(policy).map_err(|error| QueueError("depth", error.into()))?;
        // arn:aws:sqs:region:account:name; a dead-letter queue is of the same account and region
        let name = policy.dead_letter_target_arn.rsplit(':').next();
        let place = self.place.url.rsplit_once('/').map_or("", |(place, _)| place);
        Ok(Some(Redrive {
            to: format!("{place}/{}", name.unwrap_or_default()),
            after: policy.max_receive_count.number(),
        }))
    }

    async fn attributes(&self, url: &str) -> Result<Attributes, QueueError> {
        let request = self
            .client
            .get_queue_attributes()
            .queue_url(url)
            .attribute_names(QueueAttributeName::All);
        let answer = request
            .send()
            .await
            .map_err(|error| QueueError("depth", aws::told(error)))?;
        Ok(answer.attributes.unwrap_or_default())
    }
}

/// A redrive policy, as the queue's attribute has it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Policy {
    dead_letter_target_arn: String,
    max_receive_count: Count,
}

/// SQS takes it both ways, and gives it back as it was set.
#[derive(Deserialize)]
#[serde(untagged)]
enum Count {
    Number(u32),
    Text(String),
}

impl Count {
    fn number(&self) -> u32 {
        match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.parse().unwrap_or(0),
        }
    }
}

type Attributes = std::collections::HashMap<QueueAttributeName, String>;

fn delivery(message: Message, asked: Instant) -> Result<Delivery, QueueError> {
    let attempt = message
        .attributes
        .as_ref()
        .and_then(|attributes| attributes.get(&MessageSystemAttributeName::ApproximateReceiveCount))
        .and_then(|count| count.parse().ok())
        .unwrap_or(1);
    let body = message.body.unwrap_or_default();
    let handle = message
        .receipt_handle
        .ok_or_else(|| QueueError("receive", "a message without a receipt handle".into()))?;
    Ok(Delivery {
        job: Job::parse(body.as_bytes()),
        attempt,
        receipt: AnyReceipt::Sqs(Receipt {
            handle,
            body,
            attempt,
            asked,
        }),
    })
}

/// Whole seconds, and not less than was said.
fn seconds(time: Duration) -> i32 {
    let whole = time.as_secs() + u64::from(time.subsec_nanos() > 0);
    i32::try_from(whole.min(LONGEST.as_secs())).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_queue() {
        let place = Place::parse("sqs.eu-central-1.amazonaws.com/123456789012/jobs").unwrap();
        assert_eq!(
            place.url,
            "https://sqs.eu-central-1.amazonaws.com/123456789012/jobs"
        );
        assert_eq!(place.access.region.as_deref(), Some("eu-central-1"));
        let place = Place::parse("127.0.0.1:9324/000000000000/jobs?plain-http&region=elasticmq").unwrap();
        assert_eq!(place.url, "http://127.0.0.1:9324/000000000000/jobs");
        assert_eq!(place.access.endpoint.as_deref(), Some("http://127.0.0.1:9324"));
        for bad in ["", "host", "host/jobs", "host/1/2/3", "host/1/2?regoin=x"] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn times_are_whole_seconds_and_never_shorter() {
        for (millis, whole) in [(0, 0), (1, 1), (1000, 1), (1500, 2), (90_000_000, 43200)] {
            assert_eq!(seconds(Duration::from_millis(millis)), whole);
        }
    }
}
