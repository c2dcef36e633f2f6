//! What a parameter or a property is, by its name alone.

/// Parameters that carry an ad click or campaign: kept unless their value itself is contact data.
pub(super) fn is_campaign(name: &str) -> bool {
    const NAMES: [&str; 23] = [
        "gclid",
        "gbraid",
        "wbraid",
        "dclid",
        "gclsrc",
        "gad_source",
        "gad_campaignid",
        "fbclid",
        "msclkid",
        "ttclid",
        "twclid",
        "li_fat_id",
        "sccid",
        "epik",
        "rdt_cid",
        "srsltid",
        "yclid",
        "irclickid",
        "_gl",
        "fbc",
        "fbp",
        "_fbc",
        "_fbp",
    ];
    is_utm(name) || NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether it is a UTM parameter.
pub(super) fn is_utm(name: &str) -> bool {
    name.split_at_checked(4).is_some_and(|(start, _)| start.eq_ignore_ascii_case("utm_"))
}

/// Whether something of this name is contact data, whatever it holds: `email`, `customer[first_name]`, `billingPhone2`.
///
/// The last word decides, so that `email_campaign` and `phone_model` stay. `name` alone says nothing.
pub(super) fn is_contact(name: &str) -> bool {
    let mut buffer = [0; 64];
    let words = words(name, &mut buffer);
    let mut from_last = words.rsplit(|&b| b == b'_');
    let last = from_last.next().unwrap_or_default();
    let before = from_last.next().unwrap_or_default();
    match last {
        b"email" | b"emails" | b"mail" | b"mailaddress" | b"phone" | b"phones" | b"phonenumber" | b"phonenumbers"
        | b"phoneno" | b"telephone" | b"telephonenumber" | b"telefon" | b"tel" | b"mobile" | b"mobilenumber"
        | b"mobilephone" | b"cellphone" | b"cell" | b"msisdn" | b"fax" | b"firstname" | b"lastname" | b"fullname"
        | b"givenname" | b"familyname" | b"middlename" | b"surname" | b"forename" | b"fname" | b"lname"
        | b"vorname" | b"nachname" | b"street" | b"streets" | b"streetaddress" | b"streetname" | b"addressline"
        | b"strasse" | b"zip" | b"zipcode" | b"postcode" | b"postalcode" | b"plz" => true,
        b"address" | b"addresses" | b"addr" => {
            !matches!(before, b"ip" | b"mac" | b"web" | b"url" | b"page" | b"server")
        }
        b"line" => matches!(before, b"address" | b"addr" | b"street"),
        b"name" => matches!(
            before,
            b"first"
                | b"last"
                | b"full"
                | b"given"
                | b"family"
                | b"middle"
                | b"sur"
                | b"maiden"
                | b"customer"
                | b"contact"
                | b"recipient"
                | b"billing"
                | b"shipping"
                | b"cardholder"
                | b"buyer"
                | b"street"
        ),
        b"number" | b"no" | b"nr" | b"num" => {
            matches!(before, b"phone" | b"telephone" | b"tel" | b"mobile" | b"cell" | b"fax")
        }
        b"code" => matches!(before, b"zip" | b"postal" | b"post"),
        _ => {
            [&b"email"[..], b"emailaddress", b"firstname", b"lastname", b"phonenumber"]
                .iter()
                .any(|end| last.ends_with(end))
                || words.split(|&b| b == b'_').any(is_birth)
        }
    }
}

fn is_birth(word: &[u8]) -> bool {
    matches!(word, b"dob" | b"birth" | b"birthday" | b"birthdate" | b"bday" | b"dateofbirth" | b"geburtsdatum")
}

/// The words of a name in lower case, with `_` between them and without digits. Of a long name its end.
fn words<'a>(name: &str, buffer: &'a mut [u8; 64]) -> &'a [u8] {
    let bytes = name.as_bytes();
    let mut length = 0;
    let mut push = |byte: u8, buffer: &mut [u8; 64]| {
        if length < buffer.len() && (byte != b'_' || (length > 0 && buffer[length - 1] != b'_')) {
            buffer[length] = byte;
            length += 1;
        }
    };
    let mut small = false;
    for &byte in &bytes[bytes.len().saturating_sub(48)..] {
        if byte.is_ascii_uppercase() && small {
            push(b'_', buffer);
        }
        if byte.is_ascii_alphabetic() || !byte.is_ascii() {
            push(byte.to_ascii_lowercase(), buffer);
        } else if !byte.is_ascii_digit() {
            push(b'_', buffer);
        }
        small = byte.is_ascii_lowercase();
    }
    if length > 0 && buffer[length - 1] == b'_' {
        length -= 1;
    }
    &buffer[..length]
}

/// Whether a value is only a yes or no, as in `mobile=1` and `newsletter_email=true`.
pub(super) fn is_flag(value: &str) -> bool {
    ["", "0", "1", "true", "false", "yes", "no", "on", "off"].iter().any(|flag| flag.eq_ignore_ascii_case(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_contact_data_are_known_in_the_forms_that_occur() {
        for name in [
            "email",
            "Email",
            "e-mail",
            "e_mail",
            "mail",
            "customer_email",
            "user[email]",
            "customerEmail",
            "useremail",
            "emails[]",
            "email2",
            "amp;email",
            "email_address",
            "phone",
            "tel",
            "mobile",
            "phone_number",
            "phoneNumber",
            "billing_phone_1",
            "first_name",
            "firstname",
            "firstName",
            "checkout[billing_address][last_name]",
            "lname",
            "address",
            "address1",
            "address_line_2",
            "addressLine1",
            "street",
            "dob",
            "birth_day",
            "birthYear",
            "birthdate",
            "date_of_birth",
            "zip",
            "postal_code",
            "billingFirstName",
            "form.contact.EMAIL",
        ] {
            assert!(is_contact(name), "{name}");
        }
    }

    #[test]
    fn other_names_are_left_alone() {
        for name in [
            "",
            "_",
            "1",
            "name",
            "product_name",
            "page_name",
            "email_campaign",
            "email_id",
            "mailing",
            "phone_model",
            "headphones",
            "iphone",
            "hotel",
            "telegram",
            "ip_address",
            "gclid",
            "utm_source",
            "order",
            "q",
            "street_date",
            "code",
            "number",
            "order_number",
            "line",
            "discount_code",
            "mobile_app",
            "birdname",
            "cellar",
            "version",
            "türe",
        ] {
            assert!(!is_contact(name), "{name}");
        }
        let long = "x".repeat(500);
        assert!(!is_contact(&long));
        assert!(is_contact(&format!("{long}[email]")));
    }

    #[test]
    fn campaign_parameters_are_known() {
        for name in
            ["gclid", "GCLID", "gbraid", "wbraid", "fbclid", "msclkid", "ttclid", "utm_source", "UTM_id", "ScCid"]
        {
            assert!(is_campaign(name), "{name}");
        }
        for name in ["", "utm", "gclid2", "email", "ütm_"] {
            assert!(!is_campaign(name), "{name}");
        }
    }
}
