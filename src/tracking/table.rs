//! The links there are: records of the book, kept ready for the redirect.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use tokio::sync::Mutex;

use crate::{
    model::{Link, LinkKey, Time},
    store::{Book, Changed, Entry, StoreError},
};

/// The shelf of the book that links are on.
const SHELF: &str = "link";

/// Why links were not stored.
#[derive(Debug, thiserror::Error)]
pub enum LinksError {
    /// There are too many.
    #[error("there are {0} links already, as many as links.max allows; remove some, or raise it")]
    Full(usize),
    /// A slug is taken, where none was to be replaced.
    #[error("there is a link with this slug already")]
    Taken(LinkKey),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// All links: looked up in memory, changed in the book.
pub struct Links {
    book: Arc<dyn Book>,
    max: usize,
    /// By their key as text.
    links: RwLock<HashMap<String, Arc<Link>>>,
    /// Held by whoever changes links, so that book and memory see changes in the same order.
    changing: Mutex<()>,
}

impl Links {
    /// The links of the book; from now on at most `max`.
    #[must_use]
    pub fn open(book: Arc<dyn Book>, max: usize) -> Self {
        let mut links = HashMap::new();
        for (key, value) in book.list(SHELF) {
            match serde_json::from_str::<Link>(&value) {
                Ok(link) => drop(links.insert(key, Arc::new(link))),
                // Its text may hold anything; its key is a slug.
                Err(_) => tracing::error!(link = key, "a stored link cannot be read and does not redirect"),
            }
        }
        Self { book, max, links: RwLock::new(links), changing: Mutex::new(()) }
    }

    /// The link of this slug, in lower case, on a link host or, without one, on the relay's own hosts below `/l/`. One
    /// never stands in for the other: the same slug may be on each.
    #[must_use]
    pub fn find(&self, host: Option<&str>, slug: &str) -> Option<Arc<Link>> {
        match host {
            None => self.links().get(slug).cloned(),
            Some(host) => self.links().get(&format!("{host}/{slug}")).cloned(),
        }
    }

    /// The link of this key.
    #[must_use]
    pub fn get(&self, key: &LinkKey) -> Option<Arc<Link>> {
        self.find(key.host.as_deref(), &key.slug)
    }

    /// All links by their keys.
    #[must_use]
    pub fn all(&self) -> Vec<Arc<Link>> {
        let mut all: Vec<Arc<Link>> = self.links().values().cloned().collect();
        all.sort_unstable_by(|one, other| one.key.cmp(&other.key));
        all
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links().len()
    }

    /// Stores a link, in place of the one of its key if there is one; durable, and redirected by, when this returns.
    ///
    /// # Errors
    /// [`LinksError`]; then nothing has changed.
    pub async fn put(&self, link: Link, by: &str, at: Time) -> Result<(), LinksError> {
        self.put_all(vec![link], by, at).await
    }

    /// Stores links, all or none of them; otherwise as [`Links::put`].
    ///
    /// # Errors
    /// [`LinksError`]; then nothing has changed.
    pub async fn put_all(&self, links: Vec<Link>, by: &str, at: Time) -> Result<(), LinksError> {
        let _changing = self.changing.lock().await;
        self.store(links, by, at).await
    }

    /// Stores new links, all or none of them.
    ///
    /// # Errors
    /// [`LinksError`], also when one of their keys is taken; then nothing has changed.
    pub async fn create(&self, links: Vec<Link>, by: &str, at: Time) -> Result<(), LinksError> {
        let _changing = self.changing.lock().await;
        if let Some(taken) = links.iter().find(|link| self.get(&link.key).is_some()) {
            return Err(LinksError::Taken(taken.key.clone()));
        }
        self.store(links, by, at).await
    }

    /// Removes a link; durable, and no longer redirected by, when this returns. Whether there was one.
    ///
    /// # Errors
    /// Of the store; then nothing has changed.
    pub async fn remove(&self, key: &LinkKey, by: &str, at: Time) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        let text = key.to_string();
        // One that cannot be read is not among the links, and is to go too.
        if self.get(key).is_none() && self.book.get(SHELF, &text).is_none() {
            return Ok(false);
        }
        self.book.write(vec![entry(text.clone(), None, by, at)]).await?;
        self.links.write().unwrap_or_else(PoisonError::into_inner).remove(&text);
        Ok(true)
    }

    /// The latest changes of a link, or of all, newest first; up to `max`.
    ///
    /// # Errors
    /// Of the store.
    pub fn history(&self, key: Option<&LinkKey>, max: usize) -> Result<Vec<Changed>, StoreError> {
        self.book.history(SHELF, key.map(LinkKey::to_string).as_deref(), max)
    }

    async fn store(&self, links: Vec<Link>, by: &str, at: Time) -> Result<(), LinksError> {
        let (mut entries, mut new) = (Vec::with_capacity(links.len()), HashMap::new());
        for link in links {
            let text = serde_json::to_string(&link);
            let text = text.map_err(|_| StoreError::Unavailable("a link cannot be written as JSON".into()))?;
            entries.push(entry(link.key.to_string(), Some(text), by, at));
            new.insert(link.key.to_string(), Arc::new(link));
        }
        let added = new.keys().filter(|key| !self.links().contains_key(*key)).count();
        if added > 0 && self.count() + added > self.max {
            return Err(LinksError::Full(self.count()));
        }
        self.book.write(entries).await?;
        self.links.write().unwrap_or_else(PoisonError::into_inner).extend(new);
        Ok(())
    }

    fn links(&self) -> RwLockReadGuard<'_, HashMap<String, Arc<Link>>> {
        self.links.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn entry(key: String, value: Option<String>, by: &str, at: Time) -> Entry {
    Entry { at, by: by.to_owned(), shelf: SHELF.to_owned(), key, value, audited: true }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{book::FileBook, memory::SimulatedDisk};

    fn book() -> Arc<dyn Book> {
        Arc::new(FileBook::open(Arc::new(SimulatedDisk::default())).expect("opens"))
    }

    const NOW: Time = Time::from_secs(1_795_000_000);

    fn link(key: &str, to: &str) -> Link {
        let text = format!(r#"{{"key":"{key}","destination":"https://{to}.example/","created_at":1,"updated_at":1}}"#);
        serde_json::from_str(&text).expect("a link")
    }

    fn to(links: &Links, host: Option<&str>, slug: &str) -> Option<String> {
        links.find(host, slug).map(|link| link.destination.clone())
    }

    #[tokio::test]
    async fn a_slug_is_found_on_its_host_alone_and_changes_hold_at_once_and_later() {
        let book = book();
        let links = Links::open(Arc::clone(&book) as Arc<dyn Book>, 10);
        let new = vec![link("mugs", "a"), link("go.brand.example/mugs", "b")];
        links.create(new, "ada", NOW).await.expect("stores");
        let both = |links: &Links| (to(links, None, "mugs"), to(links, Some("go.brand.example"), "mugs"));
        let (own, branded) = both(&links);
        assert_eq!((own.as_deref(), branded.as_deref()), (Some("https://a.example/"), Some("https://b.example/")));
        assert_eq!(to(&links, Some("go.other.example"), "mugs"), None);

        links.put(link("mugs", "c"), "bob", NOW).await.expect("stores");
        assert_eq!(both(&links).0.as_deref(), Some("https://c.example/"));
        assert!(links.remove(&LinkKey::of("go.brand.example/mugs"), "bob", NOW).await.expect("removes"));
        assert!(!links.remove(&LinkKey::of("nothing"), "bob", NOW).await.expect("works"));
        let again = Links::open(book, 10);
        assert_eq!(both(&again), (Some("https://c.example/".to_owned()), None));
        let history = again.history(Some(&LinkKey::of("mugs")), 10).expect("reads");
        let told: Vec<_> = history.iter().map(|change| (change.entry.by.as_str(), change.before.is_some())).collect();
        assert_eq!(told, [("bob", true), ("ada", false)]);
    }

    #[tokio::test]
    async fn links_are_bounded_and_new_ones_replace_none() {
        let links = Links::open(book(), 2);
        links.create(vec![link("a", "a"), link("b", "b")], "ada", NOW).await.expect("stores");
        let full = links.put(link("c", "c"), "ada", NOW).await;
        assert!(matches!(full, Err(LinksError::Full(2))), "{full:?}");
        links.put(link("b", "other"), "ada", NOW).await.expect("is no new one");
        let taken = links.create(vec![link("b", "b")], "ada", NOW).await;
        assert!(matches!(taken, Err(LinksError::Taken(_))), "{taken:?}");
        assert_eq!((links.count(), links.all().len()), (2, 2));
    }

    #[tokio::test]
    async fn a_record_that_cannot_be_read_is_no_link_and_can_be_removed() {
        let book = book();
        book.write(vec![entry("odd".into(), Some("{}".into()), "ada", NOW)]).await.expect("writes");
        let links = Links::open(book, 2);
        assert_eq!((links.count(), to(&links, None, "odd")), (0, None));
        assert!(links.remove(&LinkKey::of("odd"), "ada", NOW).await.expect("removes"));
    }
}
