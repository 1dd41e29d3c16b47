//! Near names: what somebody may have meant who asked for an attribute that is not there.

use laminix::name::{Image, System};

/// More suggestions than this do not help.
const MOST: usize = 5;

/// The names nearest to `wanted` among the attributes of one level, in the form in which an image name takes them.
///
/// Near is a small edit distance, or a beginning or an end in common. The order is by distance, then by name.
#[must_use]
pub fn near(wanted: &str, prefix: &[String], names: &[String]) -> Vec<String> {
    let wanted = wanted.to_lowercase();
    let allowed = 1 + wanted.chars().count() / 4;
    let mut found: Vec<(usize, String)> = names
        .iter()
        .filter_map(|name| {
            let typed = typed(name);
            let distance = distance(&wanted, &typed, allowed);
            let part = wanted.len() >= 3 && (typed.starts_with(&wanted) || typed.ends_with(&wanted));
            let rank = distance.or_else(|| part.then_some(allowed + 1))?;
            Some((rank, typed))
        })
        .collect();
    found.sort();
    found.dedup();
    let outer: Vec<String> = prefix.iter().map(|level| typed(level)).collect();
    let written = found
        .into_iter()
        .map(|(_, name)| [&outer[..], &[name]].concat().join("."));
    // what the grammar of image names cannot say is of no use to the person who pulls
    written
        .filter(|name| Image::parse(name, System::Amd64).is_ok())
        .take(MOST)
        .collect()
}

/// An attribute as an image name has it.
fn typed(name: &str) -> String {
    let name = match name.strip_prefix('_') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => name,
    };
    name.to_lowercase()
}

/// The number of insertions, deletions, substitutions and swaps of neighbours between two words, up to a limit.
fn distance(a: &str, b: &str, limit: usize) -> Option<usize> {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().abs_diff(b.len()) > limit {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut least = (above[j] + usize::from(x != y))
                .min(above[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().filter(|&found| found <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_was_meant_is_among_the_first() {
        let set = strings(&[
            "git", "gitFull", "gti", "hello", "_7zz", "gcc", "ripgrep", "g++", "grep",
        ]);
        assert_eq!(near("gitt", &[], &set), ["git", "gti"]);
        assert_eq!(near("git", &[], &set), ["git", "gti", "gitfull"]);
        assert_eq!(near("7z", &[], &set), ["7zz"]);
        assert_eq!(near("rigrep", &[], &set)[0], "ripgrep");
        assert_eq!(near("zzzzzzz", &[], &set), [""; 0]);
    }

    #[test]
    fn suggestions_can_be_typed() {
        let set = strings(&["NumPy", "numpy2", "num+py", "num py"]);
        assert_eq!(
            near("nump", &strings(&["python3Packages"]), &set),
            ["python3packages.numpy", "python3packages.numpy2"]
        );
        let many: Vec<String> = (0..100).map(|n| format!("pkg{n:02}")).collect();
        assert_eq!(near("pkg0", &[], &many).len(), MOST);
    }
}
