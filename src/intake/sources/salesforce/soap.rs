//! Outbound messages: SOAP envelopes with up to 100 notifications, each with the chosen fields of one record.
//!
//! ```text
//! Envelope / Body / notifications / OrganizationId
//!                                 / Notification / Id
//!                                                / sObject xsi:type="sf:Lead" / Email …
//! ```
//!
//! A document type is refused, and with it everything that could be defined in one: no entity is looked up or expanded but
//! the five of XML itself and numbered characters.
//!
//! Source: Salesforce SOAP API Developer Guide, "Outbound Messaging", read 2026-11-20.

use quick_xml::{
    Reader,
    events::{BytesStart, Event},
};
use serde_json::{Map, Value, json};

use super::Refusal;

/// Notifications in one message.
const NOTIFICATIONS_MAX: usize = 100;
/// Levels of elements: the fields are on the sixth.
const DEPTH_MAX: usize = 16;
/// Fields of one record: Salesforce allows 800 custom ones.
const FIELDS_MAX: usize = 1000;
/// Attributes of one element.
const ATTRIBUTES_MAX: usize = 16;

/// The answer, which is looked at to the letter: anything else than `true` is sent again.
pub(super) fn acknowledgement(taken: bool) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\"><soapenv:Body>\
         <notificationsResponse xmlns=\"http://soap.sforce.com/2005/09/outbound\"><Ack>{taken}</Ack>\
         </notificationsResponse></soapenv:Body></soapenv:Envelope>\n"
    )
}

/// A message.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Message {
    /// Whose organisation it is from.
    pub(super) organization_id: String,
    /// What it notifies of.
    pub(super) notifications: Vec<Notification>,
}

/// A notification: its id and the record, in the form that Salesforce gives records in JSON.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Notification {
    pub(super) id: Option<String>,
    pub(super) record: Value,
}

/// Reads a message.
///
/// # Errors
/// If it is none.
pub(super) fn read(body: &[u8]) -> Result<Message, Refusal> {
    let text = std::str::from_utf8(body).map_err(|_| wrong("it is not UTF-8"))?;
    let mut reader = Reader::from_str(text.trim_start_matches('\u{feff}').trim_start());
    let mut message = Message::default();
    let mut open: Vec<String> = Vec::new();
    let mut said = String::new();
    loop {
        match reader.read_event().map_err(|_| wrong("it is no sound XML"))? {
            Event::Start(element) => {
                said.clear();
                open.push(local(&element)?);
                if open.len() > DEPTH_MAX {
                    return Err(wrong("its elements are nested too deep"));
                }
                message.open(&open, &element)?;
            }
            Event::End(_) => {
                message.close(&open, std::mem::take(&mut said))?;
                open.pop();
            }
            Event::Text(text) => said.push_str(&text.decode().map_err(|_| wrong("it is not UTF-8"))?),
            Event::CData(text) => said.push_str(&text.decode().map_err(|_| wrong("it is not UTF-8"))?),
            Event::GeneralRef(entity) => {
                let numbered = entity.resolve_char_ref().map_err(|_| wrong("it refers to no character"))?;
                let known = match &*entity {
                    b"amp" => Some('&'),
                    b"lt" => Some('<'),
                    b"gt" => Some('>'),
                    b"apos" => Some('\''),
                    b"quot" => Some('"'),
                    _ => None,
                };
                said.push(numbered.or(known).ok_or_else(|| wrong("it refers to an entity"))?);
            }
            Event::DocType(_) => return Err(wrong("it has a document type")),
            // An empty element is a field without a value.
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
            Event::Eof => break,
        }
    }
    if !open.is_empty() || message.organization_id.is_empty() {
        return Err(wrong("it ends early, or holds no notifications"));
    }
    Ok(message)
}

impl Message {
    fn open(&mut self, open: &[String], element: &BytesStart<'_>) -> Result<(), Refusal> {
        match path(open).as_slice() {
            ["Envelope", "Body", "notifications", "Notification"] => {
                if self.notifications.len() == NOTIFICATIONS_MAX {
                    return Err(wrong("it has more than 100 notifications"));
                }
                self.notifications.push(Notification { id: None, record: Value::Object(Map::new()) });
            }
            ["Envelope", "Body", "notifications", "Notification", "sObject"] => {
                if let (Some(notification), Some(kind)) = (self.notifications.last_mut(), kind(element)) {
                    notification.record["attributes"] = json!({ "type": kind });
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn close(&mut self, open: &[String], said: String) -> Result<(), Refusal> {
        let last = self.notifications.last_mut();
        match (path(open).as_slice(), last) {
            (["Envelope", "Body", "notifications", "OrganizationId"], _) => {
                said.trim().clone_into(&mut self.organization_id)
            }
            (["Envelope", "Body", "notifications", "Notification", "Id"], Some(notification)) => {
                notification.id = Some(said.trim().to_owned()).filter(|id| !id.is_empty());
            }
            (["Envelope", "Body", "notifications", "Notification", "sObject", field], Some(notification)) => {
                if let Value::Object(fields) = &mut notification.record {
                    if fields.len() == FIELDS_MAX {
                        return Err(wrong("a record has more than 1000 fields"));
                    }
                    // `attributes` is ours.
                    if *field != "attributes" {
                        fields.insert((*field).to_owned(), said.into());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn path(open: &[String]) -> Vec<&str> {
    open.iter().map(String::as_str).collect()
}

/// An element's name without its prefix.
fn local(element: &BytesStart<'_>) -> Result<String, Refusal> {
    let name = element.local_name();
    std::str::from_utf8(name.as_ref()).map(str::to_owned).map_err(|_| wrong("it is not UTF-8"))
}

/// The type of a record: `Lead` of `xsi:type="sf:Lead"`.
fn kind(element: &BytesStart<'_>) -> Option<String> {
    let mut attributes = element.attributes();
    let kind = attributes
        .with_checks(false)
        .take(ATTRIBUTES_MAX)
        .flatten()
        .find(|attribute| attribute.key.local_name().as_ref() == b"type")?;
    let kind = std::str::from_utf8(&kind.value).ok()?;
    Some(kind.rsplit(':').next().unwrap_or(kind).trim().to_owned()).filter(|kind| !kind.is_empty())
}

fn wrong(why: &str) -> Refusal {
    Refusal::unreadable("", format!("the body is no outbound message: {why}"))
}
