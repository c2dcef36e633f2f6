//! The pages of the admin listener: HTML that works without a script, made from templates that are compiled in. Every text
//! in them is escaped, and the content policy allows nothing that is not served from here.

mod edit;
mod form;
mod import;
mod list;
mod policy;

use std::sync::LazyLock;

use axum::{
    Router,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use minijinja::{Environment, Value, context, value::Serde};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::{Admin, session};
use crate::{model::Time, web::Problem};

/// Where the stylesheet is.
pub(super) const STYLE_PATH: &str = "/assets/admin.css";

const STYLE: &str = include_str!("../templates/admin.css");

/// Nothing but the own stylesheet, an icon that is empty, and forms to the own listener.
const CONTENT_POLICY: &str =
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

static TEMPLATES: LazyLock<Environment<'static>> = LazyLock::new(|| {
    let mut templates = Environment::new();
    templates.add_filter("urlencode", |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string());
    for (name, text) in [
        ("layout.html", include_str!("../templates/layout.html")),
        ("login.html", include_str!("../templates/login.html")),
        ("list.html", include_str!("../templates/list.html")),
        ("new.html", include_str!("../templates/new.html")),
        ("link.html", include_str!("../templates/link.html")),
        ("form.html", include_str!("../templates/form.html")),
        ("import.html", include_str!("../templates/import.html")),
        ("policy.html", include_str!("../templates/policy.html")),
        ("history.html", include_str!("../templates/history.html")),
        ("wrong.html", include_str!("../templates/wrong.html")),
    ] {
        templates.add_template(name, text).expect("the templates are sound, as a test shows");
    }
    templates
});

/// The routes of the pages.
pub(super) fn routes() -> Router<Admin> {
    Router::new()
        .route("/", get(list::show))
        .route("/links", get(list::show))
        .route("/links/new", get(edit::ask).post(edit::create))
        .route("/links/show", get(edit::show))
        .route("/links/edit", post(edit::change))
        .route("/links/act", post(edit::act))
        .route("/links/import", get(import::ask).post(import::take))
        .route("/links/policy", get(policy::show).post(policy::decide))
        .route(STYLE_PATH, get(style))
}

/// A part of a page.
fn part(template: &str, told: Value) -> Result<Value, minijinja::Error> {
    let text = TEMPLATES.get_template(template).and_then(|template| template.render(told))?;
    Ok(Value::from_safe_string(text))
}

/// A page for whoever sent `headers`: `template` with `told`, inside the frame that all pages have.
fn show(headers: &HeaderMap, status: StatusCode, title: &str, template: &str, told: Value) -> Response {
    let session = session::is_open(headers);
    framed(status, title, template, told, context! { bare => false, session })
}

fn framed(status: StatusCode, title: &str, template: &str, told: Value, frame: Value) -> Response {
    let page = part(template, told).and_then(|body| {
        let told = context! { title, body, ..frame };
        TEMPLATES.get_template("layout.html").and_then(|layout| layout.render(told))
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
            Problem::internal().into_response()
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

/// A page that says what is wrong, and no more.
fn wrong(headers: &HeaderMap, problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    show(
        headers,
        status,
        problem.title,
        "wrong.html",
        context! { title => problem.title, detail => problem.detail.as_ref() },
    )
}

/// What serde can write, for a template.
fn of(value: impl serde::Serialize) -> Value {
    Value::from(Serde(value))
}

/// A time as pages show it.
fn shown(at: Time) -> String {
    at.format("%Y-%m-%d %H:%M UTC")
}

/// A share as percent.
fn percent(share: Option<f64>) -> Option<String> {
    share.map(|share| format!("{:.0} %", share * 100.0))
}

/// The form that asks for the token, and what was wrong with the last one.
pub(super) fn login(status: StatusCode, wrong: Option<&str>) -> Response {
    framed(status, "Log in", "login.html", context! { wrong }, context! { bare => true })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_template_is_sound_and_texts_are_escaped() {
        assert!(TEMPLATES.templates().count() > 5);
        let page = part("wrong.html", context! { title => "<script>", detail => "a & \"b\"" }).expect("renders");
        assert!(page.to_string().contains("&lt;script&gt;") && !page.to_string().contains("<script>"));
    }
}
