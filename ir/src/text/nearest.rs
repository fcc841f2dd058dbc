//! What a name that is not known may have meant: the known one that differs least from it.

/// The known name that differs least from `name`, if by at most a third of its letters; of several the first in
/// the alphabet.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Longer ones are not typed by hand, and comparing two takes the product of their lengths.
    const LONGEST: usize = 64;
    let most = (name.len() / 3).max(1);
    let near = known
        .into_iter()
        .filter(|known| known.len().max(name.len()) <= LONGEST)
        .map(|known| (distance(known, name), known));
    near.filter(|&(distance, known)| distance <= most && distance < known.len())
        .min()
        .map(|(_, known)| known)
}

/// Letters to insert, remove or replace to make `b` of `a`.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}
