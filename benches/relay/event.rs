//! Realistic purchases of about 1 KB, made by patching digits into one ready request: the generator's cost is a copy.

use conversion_relay::model::{Clock as _, SystemClock};

/// The key that the relay under test is configured with. It opens nothing else.
pub(crate) const KEY: &str = "key-of-the-bench";
/// The visitors' ids: this and eight digits.
pub(crate) const VISITOR: &str = "visitor-";

/// `NNNNNNNNNN` is the event's number, `VVVVVVVV` that of its visitor, `PPPP` the end of the phone number.
const EVENT: &str = r#"{"event":"purchase","event_id":"order-RUN-NNNNNNNNNN","transaction_id":"TX-RUN-NNNNNNNNNN","time":"TIME","visitor_id":"visitor-VVVVVVVV","value":"149.90","currency":"EUR","items":[{"id":"sku-10442","name":"Stoneware mug, blue, 350 ml","quantity":2,"price":"24.95"},{"id":"sku-20817","name":"Linen table cloth 140 x 220","quantity":1,"price":"100.00"}],"user":{"email":"ada.lovelace.NNNNNNNNNN@example.com","phone":"+1 650 253 PPPP","first_name":"Ada","last_name":"Lovelace","street":"12 St James's Square","city":"San Francisco","region":"CA","postal_code":"94107","country":"US","external_id":"cust-NNNNNNNNNN"},"context":{"url":"https://shop.example/checkout/thanks?order=NNNNNNNNNN&step=4","referrer":"https://shop.example/checkout/payment","ip":"203.0.113.77","user_agent":"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36"},"consent":{"ad_user_data":"granted","ad_personalization":"granted"},"properties":{"plan":"gift","coupon":"AUTUMN-10","first_order":true}}"#;

/// A request whose changing digits are overwritten for each use.
pub(crate) struct Requests {
    bytes: Vec<u8>,
    /// Bytes of the body.
    pub(crate) body: usize,
    /// For each event of the request: where its digits are.
    places: Vec<Places>,
    visitors: u64,
}

struct Places {
    numbers: Vec<usize>,
    visitor: usize,
    phone: usize,
}

impl Requests {
    /// Requests with `batch` events each, by any of `visitors` visitors; `run` tells the ids of one run from another's.
    pub(crate) fn new(run: &str, visitors: u64, batch: usize) -> Self {
        let event = EVENT.replace("RUN", run).replace("TIME", &SystemClock.now().to_string());
        let body = if batch == 1 { event } else { format!(r#"{{"events":[{}]}}"#, vec![event; batch].join(",")) };
        let request = format!(
            "POST /v1/events HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let all = |of: &str| request.match_indices(of).map(|(at, _)| at).collect::<Vec<usize>>();
        let (numbers, visitor, phone) = (all("NNNNNNNNNN"), all("VVVVVVVV"), all("PPPP"));
        let each = numbers.len() / batch;
        let places = |i: usize| Places {
            numbers: numbers[i * each..(i + 1) * each].to_vec(),
            visitor: visitor[i],
            phone: phone[i],
        };
        Self { places: (0..batch).map(places).collect(), body: body.len(), bytes: request.into_bytes(), visitors }
    }

    /// The request that carries the events from number `first` on.
    pub(crate) fn make(&mut self, first: u64) -> &[u8] {
        for (number, places) in (first..).zip(&self.places) {
            for &at in &places.numbers {
                digits(&mut self.bytes[at..at + 10], number);
            }
            // Spread over all visitors, none before its turn.
            let visitor = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            digits(&mut self.bytes[places.visitor..places.visitor + 8], visitor % self.visitors.max(1));
            digits(&mut self.bytes[places.phone..places.phone + 4], number % 10_000);
        }
        &self.bytes
    }
}

fn digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + u8::try_from(number % 10).expect("a digit");
        number /= 10;
    }
}
