//! `GET /files/{destination}.csv`: import files for the platforms' scheduled pulls.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};

use super::{Problem, auth::basic_matches};
use crate::{
    delivery::file_sink,
    model::{DestinationId, DestinationName, Secret},
    store::EventStore,
};

/// A destination whose files are served.
#[derive(Clone)]
pub struct ServedFile {
    /// Its name.
    pub name: DestinationName,
    /// The store's number for it.
    pub id: DestinationId,
    /// Where its files are.
    pub directory: PathBuf,
    /// Their extension.
    pub extension: &'static str,
    /// Their first line.
    pub header: String,
    /// How many daily files are served.
    pub days: u32,
    /// User and password. Without them the file is not served.
    pub auth: Option<(String, Secret)>,
}

#[derive(Clone)]
struct Served {
    store: Arc<dyn EventStore>,
    files: Arc<Vec<ServedFile>>,
}

/// The routes of all served files.
pub fn files_router(store: Arc<dyn EventStore>, files: Vec<ServedFile>) -> Router {
    Router::new().route("/files/{file}", get(serve)).with_state(Served { store, files: Arc::new(files) })
}

async fn serve(
    State(served): State<Served>,
    Path(file): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let found = served.files.iter().find(|served| {
        file.strip_suffix(served.extension).and_then(|stem| stem.strip_suffix('.')) == Some(served.name.as_str())
    });
    let Some((served_file, (user, password))) = found.and_then(|found| Some((found, found.auth.as_ref()?))) else {
        return Err(Problem::unknown(
            "no import file of this name is served; a file destination is once it has a username and a password",
        ));
    };
    if !basic_matches(&headers, user, password) {
        let problem = Problem::unauthorized("this file needs the username and the password of its destination");
        let mut answer = problem.into_response();
        let basic = header::HeaderValue::from_static("Basic realm=\"import files\"");
        answer.headers_mut().insert(header::WWW_AUTHENTICATE, basic);
        return Ok(answer);
    }
    let ServedFile { name, id, directory, extension, header: first_line, days, .. } = served_file.clone();
    let mark = served.store.mark(id);
    let read = tokio::task::spawn_blocking(move || {
        file_sink::serve(&directory, &name, extension, &first_line, days, mark.as_ref())
    });
    let file = read.await.map_err(|_| Problem::internal())?.map_err(|error| {
        tracing::error!(%error, "an import file cannot be read");
        Problem::internal()
    })?;
    let content_type = if extension == "csv" { "text/csv; charset=utf-8" } else { "application/x-ndjson" };
    let unchanged = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|tags| {
        tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == file.etag || tag == "*")
    });
    let cache = [(header::ETAG, file.etag), (header::CACHE_CONTROL, "private, no-cache".to_owned())];
    if unchanged {
        return Ok((StatusCode::NOT_MODIFIED, cache).into_response());
    }
    Ok((cache, [(header::CONTENT_TYPE, content_type)], file.body).into_response())
}
