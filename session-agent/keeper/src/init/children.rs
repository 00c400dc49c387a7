//! Which children roam-init has, what they are to the session, and when nothing but helpers is left.
//! Pure: no system call here.

use std::collections::{BTreeMap, HashMap, HashSet};

use roam_api::init::{Event, Role};

/// The children that roam-init knows.
#[derive(Debug, Default)]
pub struct Children {
    running: BTreeMap<i32, Role>,
    main: Option<(i32, Option<i32>)>,
}

impl Children {
    /// A child was started, or restored.
    pub fn add(&mut self, pid: i32, role: Role) {
        self.running.insert(pid, role);
        if role == Role::Main {
            self.main = Some((pid, None));
        }
    }

    /// A child ended. Unknown ones (orphans of the session, stubs) are none of our business.
    pub fn ended(&mut self, pid: i32, status: i32) -> Option<Event> {
        let role = self.running.remove(&pid)?;
        if role == Role::Main {
            self.main = Some((pid, Some(status)));
        }
        Some(Event::Exited { pid, role, status })
    }

    /// Known children that run.
    #[must_use]
    pub fn running(&self) -> Vec<(i32, Role)> {
        self.running.iter().map(|(pid, role)| (*pid, *role)).collect()
    }

    /// The main program's pid and status.
    #[must_use]
    pub fn main(&self) -> Option<(i32, Option<i32>)> {
        self.main
    }

    /// True once a program has been started and nothing but helpers and what they started is left.
    /// `parents` are all processes of the pod, zombies excluded, with their parents.
    #[must_use]
    pub fn only_helpers(&self, parents: &HashMap<i32, i32>) -> bool {
        let helpers: HashSet<i32> =
            self.running.iter().filter(|(_, r)| **r == Role::Helper).map(|(p, _)| *p).collect();
        let is_helper = |mut pid: i32| {
            // A chain is never longer than the number of processes, also while they come and go.
            for _ in 0..=parents.len() {
                if helpers.contains(&pid) {
                    return true;
                }
                match parents.get(&pid) {
                    Some(parent) if *parent > 1 => pid = *parent,
                    _ => return false,
                }
            }
            false
        };
        self.main.is_some() && parents.keys().filter(|pid| **pid != 1).all(|pid| is_helper(*pid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_lasts_as_long_as_anything_of_it() {
        let mut children = Children::default();
        assert!(!children.only_helpers(&HashMap::new()), "nothing was started yet");
        children.add(2, Role::Helper);
        children.add(5, Role::Main);
        // 3 was started by the helper, 6 by the program, 9 is its orphan.
        let mut processes = HashMap::from([(1, 0), (2, 1), (3, 2), (5, 1), (6, 5), (9, 1)]);
        assert!(!children.only_helpers(&processes));
        assert_eq!(children.ended(5, 7), Some(Event::Exited { pid: 5, role: Role::Main, status: 7 }));
        processes.remove(&5);
        processes.insert(6, 1);
        assert!(!children.only_helpers(&processes));
        processes.remove(&6);
        assert!(!children.only_helpers(&processes), "the orphan still runs");
        processes.remove(&9);
        assert!(children.only_helpers(&processes));
        assert_eq!(children.main(), Some((5, Some(7))));
        assert_eq!(children.ended(9, 0), None);
    }

    #[test]
    fn a_loop_in_a_torn_reading_ends() {
        let mut children = Children::default();
        children.add(5, Role::Main);
        assert!(!children.only_helpers(&HashMap::from([(5, 6), (6, 5)])));
    }
}
