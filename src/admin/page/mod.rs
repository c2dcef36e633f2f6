//! The pages of the admin listener: HTML that works without a script, made from templates that are compiled in. Every text
//! in them is escaped, and the content policy allows nothing that is not served from here.

use std::sync::LazyLock;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use minijinja::{Environment, Value, context};

/// Where the stylesheet is.
pub(super) const STYLE_PATH: &str = "/assets/admin.css";

const STYLE: &str = include_str!("../templates/admin.css");

/// Nothing but the own stylesheet and forms to the own listener.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    for (name, text) in [
        ("layout.html", include_str!("../templates/layout.html")),
        ("login.html", include_str!("../templates/login.html")),
    ] {
        templates.add_template(name, text).expect("the templates are sound, as a test shows");
    }
    templates
});

/// A page: `template` with `told`, inside the frame that all pages have.
pub(super) fn show(status: StatusCode, title: &str, template: &str, told: Value) -> Response {
    let part = |name: &str, told: Value| TEMPLATES.get_template(name).and_then(|template| template.render(told));
    let page = part(template, told).and_then(|body| {
        let body = Value::from_safe_string(body);
        part("layout.html", context! { title, body, bare => template == "login.html" })
    });
    match page {
        Ok(page) => {
            let mut answer = (status, page).into_response();
            let headers = answer.headers_mut();
            for (name, value) in [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::CONTENT_SECURITY_POLICY, CONTENT_POLICY),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                // Without one, browsers send forms with `Origin: null`, which is no site of ours.
                (header::REFERRER_POLICY, "same-origin"),
                (header::CACHE_CONTROL, "no-store"),
            ] {
                headers.insert(name, HeaderValue::from_static(value));
            }
            answer
        }
        Err(error) => {
            tracing::error!(template, %error, "a page cannot be made");
            crate::web::Problem::internal().into_response()
        }
    }
}

/// The stylesheet.
pub(super) async fn style() -> Response {
    let kind = (header::CONTENT_TYPE, "text/css; charset=utf-8");
    ([kind, (header::CACHE_CONTROL, "max-age=3600")], STYLE).into_response()
}

/// Sends the browser on to `path`.
pub(super) fn see(path: &str) -> Response {
    let to = HeaderValue::from_str(path).unwrap_or_else(|_| HeaderValue::from_static("/links"));
    (StatusCode::SEE_OTHER, [(header::LOCATION, to)]).into_response()
}

/// The form that asks for the token, and what was wrong with the last one.
pub(super) fn login(status: StatusCode, wrong: Option<&str>) -> Response {
    show(status, "Log in", "login.html", context! { wrong })
}
