//! Sets of pages as ascending, disjoint runs. Pure.

/// A run of pages: first address and one past the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// First address.
    pub start: u64,
    /// One past the last.
    pub end: u64,
}

/// Appends a run that lies behind all others.
pub fn push(runs: &mut Vec<Run>, run: Run) {
    match runs.last_mut() {
        Some(last) if last.end == run.start => last.end = run.end,
        _ => runs.push(run),
    }
}

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

/// What lies within one run.
#[must_use]
pub fn within(a: &[Run], bounds: Run) -> Vec<Run> {
    let first = a.partition_point(|run| run.end <= bounds.start);
    a[first..]
        .iter()
        .take_while(|run| run.start < bounds.end)
        .map(|run| Run { start: run.start.max(bounds.start), end: run.end.min(bounds.end) })
        .collect()
}

/// What one of them has.
#[must_use]
pub fn union(a: &[Run], b: &[Run]) -> Vec<Run> {
    let mut all: Vec<Run> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        let from_a = j == b.len() || i < a.len() && a[i].start <= b[j].start;
        let run = if from_a { a[i] } else { b[j] };
        if from_a {
            i += 1
        } else {
            j += 1
        }
        match all.last_mut() {
            Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
            _ => all.push(run),
        }
    }
    all
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
            let some = within(&runs(&a), Run { start: 3, end: 17 });
            prop_assert_eq!(some, intersection(&runs(&a), &[Run { start: 3, end: 17 }]));
            let all = union(&runs(&a), &runs(&b));
            prop_assert!(all.windows(2).all(|two| two[0].end < two[1].start));
            for i in 0..40usize {
                let (in_a, in_b) = (a.get(i) == Some(&true), b.get(i) == Some(&true));
                prop_assert_eq!(has(&both, i as u64), in_a && in_b);
                prop_assert_eq!(has(&rest, i as u64), in_a && !in_b);
                prop_assert_eq!(has(&all, i as u64), in_a || in_b);
            }
        }
    }
}
