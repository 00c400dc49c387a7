//! Sets of pages as ascending, disjoint runs. Pure.

use roam_sys::pagemap::Run;

/// What both have.
#[must_use]
pub fn intersection(a: &[Run], b: &[Run]) -> Vec<Run> {
    let mut both = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() && j < b.len() {
        let (start, end) = (a[i].start.max(b[j].start), a[i].end.min(b[j].end));
        if start < end {
            both.push(Run { start, end });
        }
        if a[i].end < b[j].end { i += 1 } else { j += 1 }
    }
    both
}

/// What `a` has and `b` has not.
#[must_use]
pub fn difference(a: &[Run], b: &[Run]) -> Vec<Run> {
    let mut rest = Vec::new();
    let mut j = 0;
    for run in a {
        let mut at = run.start;
        while j < b.len() && b[j].end <= at {
            j += 1;
        }
        let mut k = j;
        while k < b.len() && b[k].start < run.end {
            if at < b[k].start {
                rest.push(Run { start: at, end: b[k].start });
            }
            at = at.max(b[k].end);
            k += 1;
        }
        if at < run.end {
            rest.push(Run { start: at, end: run.end });
        }
    }
    rest
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(set: &[bool]) -> Vec<Run> {
        let mut out: Vec<Run> = Vec::new();
        for (i, _) in set.iter().enumerate().filter(|(_, is)| **is) {
            match out.last_mut() {
                Some(last) if last.end == i as u64 => last.end += 1,
                _ => out.push(Run { start: i as u64, end: i as u64 + 1 }),
            }
        }
        out
    }

    fn has(runs: &[Run], i: u64) -> bool {
        runs.iter().any(|r| r.start <= i && i < r.end)
    }

    proptest! {
        #[test]
        fn they_are_what_sets_would_be(a in proptest::collection::vec(any::<bool>(), 0..40), b in proptest::collection::vec(any::<bool>(), 0..40)) {
            let (both, rest) = (intersection(&runs(&a), &runs(&b)), difference(&runs(&a), &runs(&b)));
            for i in 0..40usize {
                let (in_a, in_b) = (a.get(i) == Some(&true), b.get(i) == Some(&true));
                prop_assert_eq!(has(&both, i as u64), in_a && in_b);
                prop_assert_eq!(has(&rest, i as u64), in_a && !in_b);
            }
        }
    }
}
