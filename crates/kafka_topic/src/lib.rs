//! The identity of a topic (KIP-516): one that is deleted and made again has the same name and another id.
//!
//! The `rdkafka` crate does not wrap librdkafka's DescribeTopics, so this crate calls it; nothing else of
//! the workspace is unsafe for Kafka's sake.

#![allow(unsafe_code)]

use rdkafka::bindings::*;
use rdkafka::client::{Client, ClientContext};
use std::ffi::{CStr, CString};
use std::ptr;
use std::time::Duration;

/// What a broker says of a topic's identity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    Id(String),
    /// The broker is too old to know ids (before Kafka 2.8).
    Unknown,
}

impl Identity {
    /// As it is stored; empty when it is not known.
    pub fn as_text(&self) -> &str {
        match self {
            Self::Id(id) => id,
            Self::Unknown => "",
        }
    }
}

/// Frees what librdkafka has made, whichever way the function ends.
struct Owned<T>(*mut T, unsafe extern "C" fn(*mut T));

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        if !self.0.is_null() {
            // SAFETY: the pointer came from the constructor that belongs to this destructor, and is freed once.
            unsafe { (self.1)(self.0) }
        }
    }
}

/// Asks the brokers for a topic's id.
///
/// # Errors
/// A sentence, when they do not answer in time or do not have the topic.
pub fn identity<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Identity, String> {
    let name = CString::new(topic).map_err(|_| "the topic's name has a NUL character".to_owned())?;
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let handle = client.native_ptr();
    let mut names = [name.as_ptr()];
    // SAFETY: `handle` lives as long as `client`; every object is checked for null before it is used, and is
    // freed by its own destructor after the last use of what points into it.
    unsafe {
        let topics = Owned(
            rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), 1),
            rd_kafka_TopicCollection_destroy,
        );
        let options = Owned(
            rd_kafka_AdminOptions_new(handle, rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            rd_kafka_AdminOptions_destroy,
        );
        let queue = Owned(rd_kafka_queue_new(handle), rd_kafka_queue_destroy);
        if topics.0.is_null() || options.0.is_null() || queue.0.is_null() {
            return Err("the Kafka client cannot ask for a topic".to_owned());
        }
        rd_kafka_AdminOptions_set_request_timeout(options.0, timeout_ms, ptr::null_mut(), 0);
        rd_kafka_DescribeTopics(handle, topics.0, options.0, queue.0);
        let event =
            Owned(rd_kafka_queue_poll(queue.0, timeout_ms.saturating_add(1000)), rd_kafka_event_destroy);
        if event.0.is_null() {
            return Err("the brokers do not answer".to_owned());
        }
        if rd_kafka_event_error(event.0) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(rd_kafka_event_error_string(event.0)));
        }
        let result = rd_kafka_event_DescribeTopics_result(event.0);
        let mut count = 0;
        let found = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if found.is_null() || count == 0 {
            return Err("the brokers do not know the topic".to_owned());
        }
        let description = *found;
        let error = rd_kafka_TopicDescription_error(description);
        if !error.is_null() && rd_kafka_error_code(error) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(rd_kafka_error_string(error)));
        }
        let id = rd_kafka_TopicDescription_topic_id(description);
        if id.is_null()
            || (rd_kafka_Uuid_most_significant_bits(id), rd_kafka_Uuid_least_significant_bits(id)) == (0, 0)
        {
            return Ok(Identity::Unknown);
        }
        Ok(Identity::Id(text(rd_kafka_Uuid_base64str(id))))
    }
}

/// A copy of a text that librdkafka owns.
///
/// # Safety
/// The pointer is null or points to a text that ends with NUL and lives during the call.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    if pointer.is_null() {
        return "unknown error".to_owned();
    }
    // SAFETY: as the caller promises.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}
