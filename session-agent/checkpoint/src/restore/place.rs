//! Where things go in an address space. Pure.

use crate::kinds::memory_traits::filling_protection;
use crate::pages::{Backing, Layout, Mapping, PAGE};

/// One past the highest address a program can have.
const TOP: u64 = 0x7fff_ffff_f000;
/// Far from heaps, which grow up, and from mappings and stacks, which grow down.
const FIRST_CHOICE: u64 = 0x6000_0000_0000;
const STRIDE: u64 = 64 << 20;

/// Whether this range is free in every process of the layout.
#[must_use]
pub fn is_free(layout: &Layout, start: u64, len: u64) -> bool {
    layout.processes.iter().flat_map(|p| &p.mappings).all(|m| m.end <= start || start + len <= m.start)
}

/// A place of this length that is free in every process.
///
/// # Errors
/// If there is none.
pub fn find_free(layout: &Layout, len: u64) -> Result<u64, String> {
    let above = (FIRST_CHOICE..0x7000_0000_0000).step_by(STRIDE as usize);
    let below = (0x1_0000_0000..FIRST_CHOICE).rev().step_by((STRIDE * 1024) as usize);
    above
        .take(4096)
        .chain(below.take(4096).map(|a| a & !(PAGE - 1)))
        .find(|start| is_free(layout, *start, len))
        .ok_or_else(|| "the program leaves no free address range".to_owned())
}

/// Checks that a process's mappings are what a kernel could have had.
///
/// # Errors
/// What is wrong with them.
pub fn validate(layout: &Layout) -> Result<(), String> {
    if layout.files.iter().filter_map(|f| f.stand_in).any(|id| id.0 as usize >= layout.objects.len()) {
        return Err("a file's stand-in is unknown".to_owned());
    }
    for process in &layout.processes {
        let mut last = PAGE * 16;
        for m in &process.mappings {
            let aligned = m.start % PAGE == 0 && m.end % PAGE == 0;
            if !aligned || m.start < last || m.end <= m.start || m.end > TOP {
                return Err(format!(
                    "process {} has an impossible mapping at {:x}",
                    process.node.pid, m.start
                ));
            }
            last = m.end;
            let known = match m.backing {
                Backing::File { file, offset } => (file as usize) < layout.files.len() && offset % PAGE == 0,
                Backing::Object { object, offset } => {
                    (object.0 as usize) < layout.objects.len() && offset % PAGE == 0
                }
                Backing::Anonymous | Backing::Jumps | Backing::Ring => true,
            };
            if !known {
                return Err(format!("process {} maps something unknown at {:x}", process.node.pid, m.start));
            }
        }
    }
    Ok(())
}

/// A change to a process's mappings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing is mapped here any more.
    Unmap(u64, u64),
    /// This is mapped here.
    Map(Mapping),
}

/// What turns one set of mappings into another and keeps every page that both have. Protections are not
/// compared.
#[must_use]
pub fn difference(now: &[Mapping], wanted: &[Mapping]) -> Vec<Change> {
    let mut changes = Vec::new();
    for old in now {
        for (start, end) in uncovered(old, wanted) {
            changes.push(Change::Unmap(start, end));
        }
    }
    for new in wanted {
        for (start, end) in uncovered(new, now) {
            changes.push(Change::Map(Mapping { start, end, backing: new.backing_at(start), ..new.clone() }));
        }
    }
    changes
}

/// Where mappings that stay have another protection now, while they are filled: start, end, protection.
#[must_use]
pub fn protections(now: &[Mapping], wanted: &[Mapping]) -> Vec<(u64, u64, i32)> {
    let mut changes = Vec::new();
    let mut first = 0;
    for new in wanted {
        while first < now.len() && now[first].end <= new.start {
            first += 1;
        }
        for old in now[first..].iter().take_while(|old| old.start < new.end) {
            let prot = filling_protection(new);
            if filling_protection(old) != prot {
                changes.push((old.start.max(new.start), old.end.min(new.end), prot));
            }
        }
    }
    changes
}

/// The parts of `one` that no mapping of `others` has with the same thing behind it.
fn uncovered(one: &Mapping, others: &[Mapping]) -> Vec<(u64, u64)> {
    let mut parts = Vec::new();
    let mut at = one.start;
    for other in others.iter().filter(|o| o.start < one.end && one.start < o.end) {
        let (start, end) = (other.start.max(one.start), other.end.min(one.end));
        if one.is_same_at(other, start) {
            if at < start {
                parts.push((at, start));
            }
            at = end;
        }
    }
    if at < one.end {
        parts.push((at, one.end));
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::memory_traits::Traits;
    use crate::kinds::pid_namespaces::Level;
    use crate::kinds::tree::Node;
    use crate::pages::ProcessLayout;

    fn anon(start: u64, end: u64) -> Mapping {
        Mapping { start, end, prot: 3, shared: false, traits: Traits::default(), backing: Backing::Anonymous }
    }

    fn file(start: u64, end: u64, offset: u64) -> Mapping {
        Mapping { backing: Backing::File { file: 0, offset }, ..anon(start, end) }
    }

    #[test]
    fn a_grown_heap_keeps_its_pages() {
        let changes = difference(&[anon(0x10000, 0x20000)], &[anon(0x10000, 0x30000)]);
        assert_eq!(changes, [Change::Map(anon(0x20000, 0x30000))]);
    }

    #[test]
    fn a_split_by_protection_changes_nothing() {
        assert!(
            difference(&[anon(0x10000, 0x30000)], &[anon(0x10000, 0x20000), anon(0x20000, 0x30000)])
                .is_empty()
        );
    }

    #[test]
    fn a_changed_protection_is_set_where_it_changed() {
        let read_only = Mapping { prot: 1, ..anon(0x20000, 0x30000) };
        let now = [anon(0x10000, 0x40000)];
        let wanted = [anon(0x10000, 0x20000), read_only, anon(0x30000, 0x50000)];
        assert_eq!(protections(&now, &wanted), [(0x20000, 0x30000, 1)]);
    }

    #[test]
    fn a_file_at_another_offset_is_another_mapping() {
        let changes = difference(&[file(0x10000, 0x20000, 0)], &[file(0x10000, 0x20000, 0x1000)]);
        assert_eq!(changes, [Change::Unmap(0x10000, 0x20000), Change::Map(file(0x10000, 0x20000, 0x1000))]);
    }

    #[test]
    fn a_hole_in_the_middle() {
        let changes = difference(
            &[file(0x10000, 0x40000, 0)],
            &[file(0x10000, 0x20000, 0), file(0x30000, 0x40000, 0x20000)],
        );
        assert_eq!(changes, [Change::Unmap(0x20000, 0x30000)]);
    }

    #[test]
    fn impossible_mappings_are_refused() {
        let node =
            Node { pid: 5, ppid: 1, pgid: 5, sid: 5, exit_signal: 17, ended: None, level: Level::default() };
        let layout = |mappings| Layout {
            processes: vec![ProcessLayout { node, name: String::new(), mappings }],
            ..Layout::default()
        };
        assert!(validate(&layout(vec![anon(0x20000, 0x30000)])).is_ok());
        assert!(validate(&layout(vec![anon(0x20000, 0x30001)])).is_err());
        assert!(validate(&layout(vec![anon(0x20000, 0x30000), anon(0x28000, 0x40000)])).is_err());
        assert!(validate(&layout(vec![file(0x20000, 0x30000, 0)])).is_err());
        assert!(find_free(&layout(vec![anon(0x20000, 0x30000)]), 1 << 20).is_ok());
    }
}
