//! "Did you mean": the nearest of the names that would have been right.

/// Words longer than this are not compared: nobody mistypes them, and the comparison is quadratic.
const WORD_MAX: usize = 64;

/// The name of `known` nearest to `word`, if it is near enough to be a slip of the keyboard.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    known
        .into_iter()
        .filter_map(|name| Some((distance(word, name)?, name)))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// Insertions, deletions, replacements and swaps of neighbours between two words; `None` if one is too long.
fn distance(a: &str, b: &str) -> Option<usize> {
    let a: Vec<char> = a.chars().take(WORD_MAX + 1).collect();
    let b: Vec<char> = b.chars().take(WORD_MAX + 1).collect();
    if a.len() > WORD_MAX || b.len() > WORD_MAX {
        return None;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *x == b[j - 1] && a[i - 1] == *y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_found_and_another_word_is_not() {
        let keys = ["memory", "command", "ports", "pids"];
        assert_eq!(nearest("memori", keys), Some("memory"));
        assert_eq!(nearest("comand", keys), Some("command"));
        assert_eq!(nearest("port", keys), Some("ports"));
        assert_eq!(nearest("prots", keys), Some("ports"));
        assert_eq!(nearest("filesystem", keys), None);
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
    }
}
