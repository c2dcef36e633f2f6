//! Makes our script small before it is served: without comments and needless signs, and with short names for what it declares.
//!
//! No JavaScript parser: it knows as much of the language as `tag.js` uses, and the head of that file says what that is. The
//! names of properties, texts and regular expressions stay as they are.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

/// A piece of the script.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Piece<'a> {
    /// A name, a keyword or a number.
    Word(&'a str),
    /// A text or a regular expression.
    Literal(&'a str),
    Sign(char),
    LineEnd,
}

/// The brackets around the whole script: `(() => {…})();`.
const AROUND: usize = 2;

/// The script, shorter.
pub(super) fn shorten(script: &str) -> String {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//"));
    let text = lines.collect::<Vec<_>>().join("\n");
    let mut pieces = pieces(&text);
    let names = short_names();
    rename(&mut pieces, &names);
    let mut short = String::with_capacity(text.len());
    let mut word_before = false;
    for piece in without_needless(&pieces) {
        match piece {
            Piece::Word(word) => {
                if word_before {
                    short.push(' ');
                }
                short.push_str(word);
            }
            Piece::Literal(literal) => short.push_str(literal),
            Piece::Sign(sign) => short.push(sign),
            Piece::LineEnd => short.push('\n'),
        }
        word_before = matches!(piece, Piece::Word(_));
    }
    short
}

fn pieces(text: &str) -> Vec<Piece<'_>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
        let length = match first {
            '\'' => literal(rest, '\''),
            '/' if !matches!(pieces.last(), Some(Piece::Word(_) | Piece::Literal(_) | Piece::Sign(')' | ']'))) => {
                let end = literal(rest, '/');
                // Its flags.
                end + rest[end..].find(|c| !word(c)).unwrap_or(rest.len() - end)
            }
            _ if word(first) => rest.find(|c| !word(c)).unwrap_or(rest.len()),
            _ => first.len_utf8(),
        };
        let (piece, after) = rest.split_at(length);
        rest = after;
        pieces.push(match first {
            ' ' => continue,
            '\n' => Piece::LineEnd,
            _ if word(first) => Piece::Word(piece),
            _ if length > first.len_utf8() => Piece::Literal(piece),
            _ => Piece::Sign(first),
        });
    }
    pieces
}

/// How long the literal is that `text` begins with. In a regular expression, brackets hide its end.
fn literal(text: &str, end: char) -> usize {
    let (mut escaped, mut bracket) = (false, false);
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '[' if end == '/' => bracket = true,
            ']' if end == '/' => bracket = false,
            _ if c == end && !bracket => return at + c.len_utf8(),
            _ => {}
        }
    }
    text.len()
}

/// Leaves out line ends, the last comma and semicolon before a bracket, and all but the first of several `const` or `let`.
fn without_needless<'a>(pieces: &[Piece<'a>]) -> Vec<Piece<'a>> {
    let mut kept: Vec<Piece<'a>> = Vec::with_capacity(pieces.len());
    // For each open bracket, the statement in it if it declares something.
    let mut declaring = vec![None];
    let mut rest = pieces.iter().copied();
    while let Some(piece) = rest.next() {
        let next = rest.clone().find(|piece| *piece != Piece::LineEnd);
        match piece {
            Piece::Sign('(' | '[' | '{') => declaring.push(None),
            Piece::Sign(')' | ']' | '}') => drop(declaring.pop()),
            Piece::Word("const" | "let") => {
                declaring.pop();
                declaring.push(Some(piece));
            }
            // What ends there without a semicolon may be a statement.
            Piece::LineEnd if kept.last() != Some(&Piece::Sign('}')) => continue,
            Piece::Sign(',' | ';') if matches!(next, Some(Piece::Sign('}' | ')' | ']'))) => continue,
            Piece::Sign(';') => {
                let before = declaring.pop().flatten();
                let goes_on = before.is_some() && next == before;
                declaring.push(before.filter(|_| goes_on));
                if goes_on {
                    rest.find(|piece| *piece != Piece::LineEnd);
                    kept.push(Piece::Sign(','));
                    continue;
                }
            }
            _ => {}
        }
        kept.push(piece);
    }
    kept
}

/// A word that is no property's name: where it is, and in which statement of the script.
struct Use<'a> {
    word: &'a str,
    at: usize,
    statement: usize,
    /// Whether the word is declared there, and whether for all statements.
    declares: Option<bool>,
}

fn uses<'a>(pieces: &[Piece<'a>]) -> Vec<Use<'a>> {
    let (mut depth, mut statement) = (0, 0);
    let mut uses = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        match *piece {
            Piece::Sign('(' | '[' | '{') => depth += 1,
            Piece::Sign(')' | ']' | '}') => depth -= 1,
            Piece::Sign(';') if depth == AROUND => statement += 1,
            Piece::Word(word) if !is_property(pieces, at) => {
                let declared = at > 0 && matches!(pieces[at - 1], Piece::Word("const" | "let"));
                let declares =
                    if declared { Some(depth <= AROUND) } else { is_parameter(&pieces[at..]).then_some(false) };
                uses.push(Use { word, at, statement, declares });
            }
            _ => {}
        }
    }
    uses
}

/// Whether the word there is the name of a property: behind a dot, or before the colon of an object.
fn is_property(pieces: &[Piece<'_>], at: usize) -> bool {
    match pieces[..at].iter().rev().find(|piece| **piece != Piece::LineEnd) {
        Some(Piece::Sign('.')) => true,
        Some(Piece::Sign('{' | ',')) => pieces.get(at + 1) == Some(&Piece::Sign(':')),
        _ => false,
    }
}

/// Whether the word that `pieces` begin with is a parameter of an arrow function: `word =>`, or one of `(first, word) =>`.
fn is_parameter(pieces: &[Piece<'_>]) -> bool {
    let rest = pieces.iter().skip_while(|piece| matches!(piece, Piece::Word(_) | Piece::Sign(',')));
    let rest: Vec<_> = rest.take(3).collect();
    let arrow = [&Piece::Sign('='), &Piece::Sign('>')];
    rest.starts_with(&arrow) && pieces.get(1) == Some(&Piece::Sign('='))
        || rest.first() == Some(&&Piece::Sign(')')) && rest[1..] == arrow
}

/// Gives what the script declares short names: those of all statements each its own, those within a statement the same few.
fn rename<'a>(pieces: &mut [Piece<'a>], names: &'a [String]) {
    let uses = uses(pieces);
    let everywhere: BTreeSet<&str> =
        uses.iter().filter(|used| used.declares == Some(true)).map(|used| used.word).collect();
    let declared: BTreeSet<(usize, &str)> =
        uses.iter().filter(|used| used.declares.is_some()).map(|used| (used.statement, used.word)).collect();
    // A name that is used in a statement which does not declare it is the browser's.
    let within = |used: &Use<'_>| !everywhere.contains(used.word) && declared.contains(&(used.statement, used.word));
    let taken: BTreeSet<&str> =
        uses.iter().filter(|used| !everywhere.contains(used.word) && !within(used)).map(|used| used.word).collect();
    let free: Vec<&'a str> = names.iter().map(String::as_str).filter(|name| !taken.contains(name)).collect();

    let mut of_statement: BTreeMap<usize, Vec<&str>> = BTreeMap::new();
    for used in uses.iter().filter(|used| within(used)) {
        let words = of_statement.entry(used.statement).or_default();
        if !words.contains(&used.word) {
            words.push(used.word);
        }
    }
    let most = of_statement.values().map(Vec::len).max().unwrap_or(0);
    let mut often: Vec<&str> = everywhere.iter().copied().collect();
    often.sort_by_key(|word| Reverse(uses.iter().filter(|used| used.word == *word).count()));
    for used in &uses {
        let place = if everywhere.contains(used.word) {
            often.iter().position(|word| *word == used.word).map(|place| most + place)
        } else {
            of_statement.get(&used.statement).and_then(|words| words.iter().position(|word| *word == used.word))
        };
        if let Some(name) = place.and_then(|place| free.get(place)) {
            pieces[used.at] = Piece::Word(name);
        }
    }
}

/// `a` to `Z`, then names of two letters that are no words of the language.
fn short_names() -> Vec<String> {
    let letters = || ('a'..='z').chain('A'..='Z');
    let one = letters().map(String::from);
    let two = letters().flat_map(|first| letters().map(move |second| format!("{first}{second}")));
    one.chain(two.filter(|name| !["as", "do", "if", "in", "of"].contains(&name.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_short_and_space_goes() {
        let script = "
            // What it is.
            (() => {
              const landing = { landing: 1, url: place.landing, };
              const again = 1;
              let other = (first, second) => first + ' + landing ' + second / 2;

              const act = again => {
                const result = landing;
                return result in other ? again : /[/']landing /.test(other);
              };
              act(landing.landing, window.other, place, result);
            })();
        ";
        let expected = "(()=>{const d={landing:1,url:place.landing},c=1;let e=(a,b)=>a+' + landing '+b/2;const f=c=>{const \
                        a=d;return a in e?c:/[/']landing /.test(e)};f(d.landing,window.other,place,result)})();";
        assert_eq!(shorten(script), expected);
    }

    #[test]
    fn a_name_that_is_in_use_is_not_given_away() {
        assert_eq!(shorten("(() => {const long = a; b(long, c);})();"), "(()=>{const d=a;b(d,c)})();");
        assert_eq!(shorten("if (x) {\n  y;\n}\nz;"), "if(x){y}\nz;", "no statement runs into the next");
    }
}
