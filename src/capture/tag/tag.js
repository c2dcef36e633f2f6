// The first-party tag: tells the relay of the visit, and carries the visitor's id to where the sale happens.
//
// docs/tag.md says what it does. The relay shortens this text when it starts (tag/shorten.rs), which asks a little of it:
// texts in single quotes, no templates, comments on lines of their own, values of objects behind a colon, and no name
// declared here that is a global elsewhere. ES2015 without dependencies. Nothing here throws into the page: what the page
// or the browser calls goes through `safe`.
(() => {
  const safe = act => function () {
    try {
      return act.apply(this, arguments);
    } catch (error) {}
  };
  const win = window;
  const doc = document;
  const place = location;
  // Known only while the script itself runs.
  const script = doc.currentScript || {};
  // The relay puts its settings in the place of words in capitals.
  const carried = 'cr_vid';

  const data = script.dataset || {};
  const api = data.name || 'relay';
  const early = win[api] && win[api].q || [];
  let target;

  // Before the page's own listeners, which may stop the event or leave the page.
  const on = (where, types, act) => types.split(' ').forEach(type => where.addEventListener(type, safe(act), true));
  const each = (list, act) => [].forEach.call(list, act);
  const find = (selector, act) => each(doc.querySelectorAll(selector), act);

  // ---- What the visitor allowed.

  // By default, and as told since: a default that comes late takes nothing back.
  const assumed = {};
  const told = {};
  const choices = () => Object.assign({}, assumed, told);
  // As the relay has it (allowed.rs): what it would take for a refusal must not be told of somebody who has not refused.
  const allowed = () => {
    const now = choices();
    const refused = [now.ad_user_data, now.ad_storage || now.analytics_storage].indexOf('denied') >= 0;
    // Where a yes is required, the cookie is there because of one. The relay knows whether that still stands.
    return !refused && (now.ad_user_data || !REQUIRE_CONSENT || stored());
  };
  const hear = (into, given) => {
    ['ad_user_data', 'ad_personalization', 'ad_storage', 'analytics_storage'].forEach(kind => {
      const choice = given[kind];
      // A default for some regions may not be for this one: then a denial counts, and a grant does not.
      if (choice == 'denied' || choice == 'granted' && !given.region) into[kind] = choice;
    });
    // Commands that come together are one change.
    if (landing && !settling) settling = Promise.resolve().then(safe(settle));
  };
  let settling;
  let allowedBefore;
  let choicesBefore;
  const settle = () => {
    const now = JSON.stringify(choices());
    const may = allowed();
    settling = 0;
    if (now == choicesBefore) return;
    if (may) allowedBefore ? post({ url: current, engaged_ms: 0 }) : land();
    else withdraw();
    allowedBefore = may;
    choicesBefore = now;
  };
  // What is only assumed takes no cookie away: the visitor's choice may still be on its way.
  const withdraw = () => {
    if (!Object.keys(told).length || !stored()) return;
    post({ url: current, engaged_ms: 0, visitor_id: stored() });
    forget();
  };

  // Google Consent Mode: gtag() pushes its arguments.
  let layer;
  const read = safe(entry => entry[0] == 'consent' && hear(entry[1] == 'update' ? told : assumed, entry[2]));
  const watch = safe(() => {
    const list = data.layer || 'dataLayer';
    // Some pages put a new list where one was.
    if (layer && layer == win[list]) return;
    layer = win[list] = win[list] || [];
    each(layer, read);
    const push = layer.push;
    layer.push = function () {
      each(arguments, read);
      return push.apply(this, arguments);
    };
  });

  // ---- Who it is.

  let id;
  const cookies = () => {
    const all = {};
    doc.cookie.split('; ').forEach(pair => {
      const at = pair.indexOf('=');
      const key = pair.slice(0, at);
      // Of one name, the first is the most specific.
      if (!(key in all)) all[key] = pair.slice(at + 1);
    });
    return all;
  };
  const stored = () => id = id || cookies()[carried];
  const who = () => allowed() && stored() || null;
  const write = (value, seconds) => {
    const secure = place.protocol == 'https:' ? ';secure' : '';
    doc.cookie = carried + '=' + value + ';path=/;samesite=lax;max-age=' + seconds + secure;
  };
  const site = host => host.split('.').slice(-2).join('.');
  const keep = given => {
    id = given;
    // The relay's own cookie outlives this one where browsers cut those of scripts short. This one stands in where that
    // one is not seen, and is renewed where the relay is another site whose cookies may be blocked.
    const needed = cookies()[carried] != id || site(target.hostname) != site(place.hostname);
    if (needed && /^[\w.~:-]+$/.test(id)) write(id, COOKIE_SECONDS);
    fill(id);
    cart();
  };
  const forget = () => {
    id = 0;
    write('', 0);
    fill('');
    sessionStorage.removeItem(carried);
  };

  // ---- To the relay.

  const platforms = /^(_fb[cp]|_gcl_|_ga(_|$)|_ttp|ttclid|_uet|_epik|_scid|_rdt_|_twclid|li_fat_id|FP(AU|GCL))/;
  const post = fields => {
    const may = allowed();
    const all = may ? cookies() : {};
    Object.keys(all).forEach(key => platforms.test(key) || delete all[key]);
    const width = screen.width;
    const content = JSON.stringify(Object.assign({
      visitor_id: who(),
      cookies: all,
      consent: choices(),
      gpc: !!navigator.globalPrivacyControl,
      screen: width < 768 ? 'small' : width < 1280 ? 'medium' : 'large',
      // The relay takes 8 KiB.
    }, fields, { url: fields.url.slice(0, 8000) }));
    if ((may && leaving || !win.fetch) && navigator.sendBeacon(target, content)) return Promise.resolve();
    return fetch(target, {
      method: 'POST',
      keepalive: true,
      // Without consent the cookie that is there stays at home, unless it is to be taken back.
      credentials: may || fields.visitor_id ? 'include' : 'omit',
      body: content,
    }).then(answer => answer.status == 204 ? {} : answer.ok && answer.json()).then(said => {
      // The visitor may have refused meanwhile.
      if (said && may && allowed()) said.visitor_id ? keep(said.visitor_id) : forget();
    }).catch(() => {});
  };

  // Until the first visit is answered it may not be known who this is: what follows waits.
  let first;
  let leaving;
  const waiting = [];
  const flush = () => waiting.splice(0).forEach(act => act());
  const later = act => first && !who() ? waiting.push(act) : act();
  const land = () => {
    const sent = first = post(landing).then(() => {
      if (first != sent) return;
      first = 0;
      flush();
    });
  };
  const say = fields => {
    watch();
    later(() => post(Object.assign({ url: place.href }, fields)));
  };

  // ---- Pages.

  let landing;
  let current;
  let shown;
  let depth = 0;
  let reached = 0;
  let scrolling;
  const measure = () => {
    const seen = (win.scrollY + win.innerHeight) / doc.documentElement.scrollHeight * 100;
    scrolling = 0;
    depth = Math.max(depth, Math.min(100, seen | 0));
    [50, 90].forEach(mark => {
      if (!/scroll/.test(data.auto) || depth < mark || reached >= mark) return;
      reached = mark;
      calls.event('scroll', { percent: mark });
    });
  };
  const show = () => {
    leaving = 0;
    shown = !doc.hidden && performance.now();
  };
  // Tells what was seen of the page since this was told last.
  const leave = () => {
    const time = shown ? performance.now() - shown | 0 : 0;
    shown = 0;
    if (scrolling) measure();
    if (time && who()) post({ url: current, engaged_ms: time, scroll: depth });
  };
  const hide = () => {
    leaving = 1;
    leave();
    flush();
  };
  const view = (manual, again) => {
    const page = address => manual || 'hash' in data ? address : address.split('#')[0];
    const previous = current;
    if (!again && page(place.href) == page(previous)) return;
    leave();
    show();
    depth = reached = 0;
    current = place.href;
    say({ referrer: previous, page: true });
  };

  // ---- To the sale.

  const own = host => host != place.hostname && OWN_DOMAINS.some(domain => ('.' + host).endsWith('.' + domain));
  // As texts: nothing of the address is encoded anew.
  const add = (address, key, value) => {
    const parts = /^([^#]*)(.*)/.exec(address);
    const start = parts[1];
    if (RegExp('[?&]' + key + '=').test(start)) return address;
    return start + (start.indexOf('?') < 0 ? '?' : '&') + key + '=' + encodeURIComponent(value) + parts[2];
  };
  const put = form => {
    if (form.querySelector('[name=cr_vid]')) return;
    const input = doc.createElement('input');
    input.type = 'hidden';
    input.name = carried;
    form.appendChild(input);
  };
  const fill = value => {
    if (value) find('form[data-relay]', put);
    find('input[type=hidden][name=cr_vid]', input => input.value = value);
  };
  const cart = () => {
    // Each new cart is told.
    const done = () => id + cookies().cart;
    if (!win.Shopify || sessionStorage.getItem(carried) == done()) return;
    fetch('/cart/update.js', {
      method: 'POST',
      body: new URLSearchParams('attributes[cr_vid]=' + encodeURIComponent(id)),
    }).then(answer => answer.ok && sessionStorage.setItem(carried, done())).catch(() => {});
  };
  const carry = event => {
    const value = who();
    if (!value) return;
    fill(value);
    const path = event.composedPath();
    if (event.type == 'submit') {
      const form = path[0];
      const action = new URL(form.getAttribute('action') || '', doc.baseURI);
      if (!own(action.hostname)) return;
      // A form that is sent with GET replaces the query of its address by its fields.
      put(form);
      form.setAttribute('action', add(action.href, carried, value));
      fill(value);
      return;
    }
    const link = path.find(node => /^a(rea)?$/i.test(node.nodeName) && node.hostname);
    const written = link.getAttribute('href');
    if (own(link.hostname)) link.href = add(link.href, carried, value);
    if (link.hostname == 'buy.stripe.com' && /^[\w-]{1,200}$/.test(value)) link.href = add(link.href, 'client_reference_id', value);
    // Whoever copies the link later copies it without the id.
    setTimeout(() => link.setAttribute('href', written));
  };

  // ---- What the page calls.

  const calls = {
    event: (title, details) => {
      const event = { name: title };
      Object.keys(details || {}).forEach(key => {
        if (/^(event_id|transaction_id|value|currency|items|properties)$/.test(key)) event[key] = details[key];
        else (event.properties = event.properties || {})[key] = details[key];
      });
      // Without consent it is counted, no more.
      say({ event: allowed() ? event : title });
    },
    identify: user => {
      // Told with the landing, should it be allowed later.
      if (allowed()) say({ user: user });
      else landing.user = user;
    },
    consent: given => hear(told, given),
    visitor: tell => later(safe(() => tell(who()))),
    page: () => view(true),
  };
  const call = safe(given => calls[given[0]].apply(null, [].slice.call(given, 1)));

  const start = () => {
    // The tag is in the page twice.
    if (!early.forEach) return;
    target = new URL(data.visits || VISITS, script.src);
    win[api] = function () {
      call(arguments);
    };
    win[api].q = { push: call };
    watch();
    early.forEach(safe(given => given[0] == 'consent' && call(given)));
    landing = { url: place.href, referrer: doc.referrer };
    allowedBefore = allowed();
    choicesBefore = JSON.stringify(choices());
    land();
    // The id came over from a link; nobody is to share it with the address.
    safe(() => {
      const kept = place.search.replace(/(^\?|&)cr_vid=[^&]*/g, '').replace(/^&/, '?');
      if (kept != place.search) history.replaceState(history.state, '', place.pathname + kept + place.hash);
    })();
    current = place.href;
    show();
    if (!allowedBefore) withdraw();
    early.forEach(safe(given => given[0] != 'consent' && call(given)));
    fill(who());
    ['pushState', 'replaceState'].forEach(safe(method => {
      const native = history[method];
      history[method] = function () {
        const result = native.apply(this, arguments);
        safe(view)();
        return result;
      };
    }));
    on(win, 'popstate hashchange', () => view());
    on(win, 'pageshow', event => event.persisted && view(0, 1));
    on(win, 'pagehide', hide);
    on(doc, 'visibilitychange', () => doc.hidden ? hide() : show());
    on(doc, 'scroll', event => {
      if (event.target == doc && !scrolling) scrolling = setTimeout(safe(measure), 200);
    });
    on(doc, 'DOMContentLoaded', () => fill(who()));
    on(win, 'click auxclick submit', carry);
    const played = [];
    on(doc, 'play', event => {
      const media = event.target;
      if (!/play/.test(data.auto) || played.indexOf(media) >= 0) return;
      played.push(media);
      calls.event('play', { src: media.currentSrc });
    });
  };
  // A page that is loaded on suspicion is no visit until somebody sees it.
  if (doc.prerendering) on(doc, 'prerenderingchange', start);
  else safe(start)();
})();
