//! The process tree: parents, sessions, groups, and the order in which to make it anew.
//!
//! A process gets its session from its parent's at the moment of its birth, or becomes a leader by
//! setsid(2); that is all the kernel offers. So a child in a session that its parent is no longer
//! (or not yet) in must be born at the right moment, or by a helper that is. [`plan`] is pure and
//! finds the order; where there is none it says so and the session is refused.
//!
//! In a pid namespace of its own a process's first parent is the first of it, as roam-init is in the pod; and a
//! group that began outside can only be inherited there, since it has no number.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::pid_namespaces::{Level, Pids};

/// A process's place in the tree, all ids as the pod sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Node {
    /// Its pid.
    pub pid: i32,
    /// Its parent; 1 is roam-init.
    pub ppid: i32,
    /// Its process group.
    pub pgid: i32,
    /// Its session.
    pub sid: i32,
    /// The signal its parent gets at its end.
    pub exit_signal: i32,
    /// It has ended with this wait status and waits for its parent to look.
    pub ended: Option<i32>,
    /// Its pid namespace.
    pub level: Level,
}

/// One step in making the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// `creator` clones `pid`. With `as_sibling` the new process's parent is the creator's own parent.
    Fork {
        /// Pod pid of the stub that clones; 0 is the holder, whose parent is roam-init.
        creator: i32,
        /// The new pid.
        pid: i32,
        /// CLONE_PARENT.
        as_sibling: bool,
        /// The new process's exit signal (the creator's own if `as_sibling`).
        exit_signal: i32,
        /// Its pid namespace. The first process of one makes it.
        level: Level,
    },
    /// This process becomes a session leader.
    SetSid(i32),
    /// This process joins, or founds, a group.
    SetPgid {
        /// The process.
        pid: i32,
        /// The group.
        pgid: i32,
    },
    /// A temporary process has done its service and ends; its parent (0: roam-init) takes note.
    Dismiss {
        /// The temporary process.
        pid: i32,
        /// Who reaps it.
        parent: i32,
    },
}

/// Why a tree can't be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct NoWay {
    /// The process that it is about, as the pod counts.
    pub pid: i32,
    /// The reason.
    pub why: String,
}

impl NoWay {
    fn of(pid: i32, why: String) -> Self {
        Self { pid, why }
    }
}

/// Finds the steps from nothing to this tree.
///
/// # Errors
/// A sentence that names the process for which there is no way.
pub fn plan(nodes: &[Node], pids: &Pids) -> Result<Vec<Step>, NoWay> {
    let mut planner = Planner {
        nodes,
        pids,
        steps: Vec::new(),
        born: Vec::new(),
        levels: HashMap::new(),
        groups: HashMap::new(),
        orphans: Vec::new(),
    };
    for node in nodes {
        if nodes.iter().filter(|n| n.pid == node.pid).count() != 1 {
            return Err(NoWay::of(node.pid, format!("process {} appears twice", node.pid)));
        }
        if node.ppid != 1 && !nodes.iter().any(|n| n.pid == node.ppid) {
            let why = format!("the parent {} of process {} is missing", node.ppid, node.pid);
            return Err(NoWay::of(node.pid, why));
        }
    }
    planner.children_of(1, None)?;
    planner.orphans()?;
    if let Some(node) = nodes.iter().find(|n| !planner.born.contains(&n.pid)) {
        return Err(NoWay::of(node.pid, "the process tree has a circle".to_owned()));
    }
    planner.groups()?;
    Ok(planner.steps)
}

struct Planner<'a> {
    nodes: &'a [Node],
    pids: &'a Pids,
    steps: Vec<Step>,
    born: Vec<i32>,
    /// Where everybody is that was born, temporary ones too.
    levels: HashMap<i32, Level>,
    /// The group that each process is in at this point of the plan.
    groups: HashMap<i32, i32>,
    /// Children of roam-init in a session whose leader is nobody's brother of theirs: they come last.
    orphans: Vec<Node>,
}

impl Planner<'_> {
    /// Makes all children of a parent that are not there yet and whose time has come. `session` is the
    /// parent's session now (none for roam-init, whose children are made by the holder or by helpers).
    fn children_of(&mut self, parent: i32, session: Option<i32>) -> Result<(), NoWay> {
        let mut children: Vec<Node> =
            self.nodes.iter().filter(|n| n.ppid == parent && !self.born.contains(&n.pid)).copied().collect();
        // Who makes a namespace comes before those that are in it.
        children.sort_by_key(|n| !n.level.first);
        // Leaders first: their siblings may be born by them.
        let (leaders, others): (Vec<Node>, Vec<Node>) = children.into_iter().partition(|n| n.sid == n.pid);
        for node in leaders {
            self.fork(creator_of(parent), &node, false)?;
            self.grow(node, session)?;
        }
        for node in others {
            if Some(node.sid) == session {
                self.fork(creator_of(parent), &node, false)?;
            } else if !self.born_in_other_session(parent, node)? {
                self.orphans.push(node);
                continue;
            }
            self.grow(node, Some(node.sid))?;
        }
        Ok(())
    }

    /// Those whose parent ended and left them to roam-init, or to the first of their pid namespace: a member of the
    /// session bears a helper, which bears the process and ends.
    fn orphans(&mut self) -> Result<(), NoWay> {
        while !self.orphans.is_empty() {
            let member = |orphan: &Node| {
                let fits = |n: &&Node| n.sid == orphan.sid && n.level.namespace == orphan.level.namespace;
                let mut members = self.nodes.iter().filter(fits);
                members.find(|n| n.ended.is_none() && self.born.contains(&n.pid)).map(|n| n.pid)
            };
            let ready = self.orphans.iter().enumerate().find_map(|(i, n)| Some((i, member(n)?)));
            let Some((index, member)) = ready else { return Err(no_way(&self.orphans[0])) };
            let node = self.orphans.remove(index);
            let helper = unused(self.nodes)?;
            self.bear(member, helper, false, libc::SIGCHLD, Level { first: false, ..node.level });
            self.fork(helper, &node, false)?;
            self.groups.remove(&helper);
            self.steps.push(Step::Dismiss { pid: helper, parent: member });
            self.grow(node, Some(node.sid))?;
        }
        Ok(())
    }

    /// A process was just born in session `inherited`: it bears the children of that session, leads its
    /// own if it does, then bears the rest.
    fn grow(&mut self, node: Node, inherited: Option<i32>) -> Result<(), NoWay> {
        self.born.push(node.pid);
        if node.sid == node.pid {
            if let Some(session) = inherited {
                let early: Vec<Node> =
                    self.nodes.iter().filter(|n| n.ppid == node.pid && n.sid == session).copied().collect();
                for child in early {
                    self.fork(node.pid, &child, false)?;
                    self.grow(child, Some(session))?;
                }
            }
            self.set_sid(node.pid);
        }
        let inherited = |n: &Node| n.pgid == node.pid && n.level.namespace != node.level.namespace;
        if node.pgid == node.pid && node.sid != node.pid && self.nodes.iter().any(inherited) {
            self.groups.insert(node.pid, node.pid);
            self.steps.push(Step::SetPgid { pid: node.pid, pgid: node.pid });
        }
        self.children_of(node.pid, Some(node.sid))
    }

    /// The wanted session is not the parent's: a brother who is in it bears the process, or a helper
    /// takes the dead leader's place for a moment. False if it can only be born later, as an orphan.
    fn born_in_other_session(&mut self, parent: i32, node: Node) -> Result<bool, NoWay> {
        let brother = self.nodes.iter().find(|n| {
            let born = n.ppid == parent && self.born.contains(&n.pid) && n.ended.is_none();
            born && n.sid == node.sid && n.level.namespace == node.level.namespace
        });
        if let Some(brother) = brother {
            // CLONE_PARENT gives the newborn the creator's exit signal.
            if brother.exit_signal == node.exit_signal {
                self.fork(brother.pid, &node, true)?;
                return Ok(true);
            }
        }
        let leader_lives = self.nodes.iter().any(|n| n.pid == node.sid);
        let first = self.nodes.iter().any(|n| n.pid == parent && n.level.first);
        if leader_lives && (parent == 1 || first && !node.level.first) {
            return Ok(false);
        }
        if leader_lives || node.sid <= 1 {
            return Err(no_way(&node));
        }
        let level = match self.pids.number(node.level.namespace, node.sid) {
            Some(_) if !node.level.first => node.level,
            _ => self.level(creator_of(parent)),
        };
        self.made_already(&node, level)?;
        self.bear(creator_of(parent), node.sid, false, node.exit_signal, level);
        self.set_sid(node.sid);
        self.fork(node.sid, &node, true)?;
        self.groups.remove(&node.sid);
        self.steps.push(Step::Dismiss { pid: node.sid, parent: creator_of(parent) });
        Ok(true)
    }

    fn level(&self, pid: i32) -> Level {
        self.levels.get(&pid).copied().map_or_else(Level::default, |level| Level { first: false, ..level })
    }

    /// Somebody has to make a pid namespace before others can be in it.
    fn made_already(&self, node: &Node, level: Level) -> Result<(), NoWay> {
        let made = self.levels.values().any(|l| l.namespace == level.namespace && l.first);
        let there = level.namespace == 0 || level.first || made;
        there.then_some(()).ok_or_else(|| {
            let why = "is in a pid namespace whose first process has ended or comes later";
            NoWay::of(node.pid, format!("process {} {why}", node.pid))
        })
    }

    fn fork(&mut self, creator: i32, node: &Node, as_sibling: bool) -> Result<(), NoWay> {
        self.made_already(node, node.level)?;
        self.bear(creator, node.pid, as_sibling, node.exit_signal, node.level);
        Ok(())
    }

    fn bear(&mut self, creator: i32, pid: i32, as_sibling: bool, exit_signal: i32, level: Level) {
        self.levels.insert(pid, level);
        // A child of roam-init is born as the holder's sibling.
        let as_sibling = as_sibling || creator == 0;
        let group = self.groups.get(&creator).copied().unwrap_or(0);
        self.groups.insert(pid, group);
        self.steps.push(Step::Fork { creator, pid, as_sibling, exit_signal, level });
    }

    fn set_sid(&mut self, pid: i32) {
        self.groups.insert(pid, pid);
        self.steps.push(Step::SetSid(pid));
    }

    /// Groups come last, leaders first. A group whose leader is gone gets a helper for a moment.
    fn groups(&mut self) -> Result<(), NoWay> {
        let nodes = self.nodes;
        for node in nodes.iter().filter(|n| n.pgid == n.pid && n.sid != n.pid) {
            if self.groups.insert(node.pid, node.pid) != Some(node.pid) {
                self.steps.push(Step::SetPgid { pid: node.pid, pgid: node.pid });
            }
        }
        let mut done: Vec<i32> = Vec::new();
        for node in nodes {
            if node.pgid == node.pid || done.contains(&node.pgid) {
                continue;
            }
            let members: Vec<&Node> =
                nodes.iter().filter(|n| n.pgid == node.pgid && n.pid != node.pgid).collect();
            // A newborn is in its creator's group, so the group may be there already.
            let exists = self.groups.iter().any(|(_, group)| *group == node.pgid);
            let helper = if exists {
                None
            } else {
                let seen = |m: &&&Node| self.pids.number(m.level.namespace, node.pgid).is_some();
                let creator =
                    members.iter().filter(seen).find(|m| m.sid != m.pid && m.ended.is_none()).ok_or_else(
                        || NoWay::of(node.pid, format!("process group {} has no living member", node.pgid)),
                    )?;
                // The helper is a child of a member, so it is in the right session.
                self.steps.push(Step::Fork {
                    creator: creator.pid,
                    pid: node.pgid,
                    as_sibling: false,
                    exit_signal: libc::SIGCHLD,
                    level: Level { first: false, ..creator.level },
                });
                self.steps.push(Step::SetPgid { pid: node.pgid, pgid: node.pgid });
                Some(Step::Dismiss { pid: node.pgid, parent: creator.pid })
            };
            for member in members {
                if self.groups.insert(member.pid, member.pgid) != Some(member.pgid) {
                    if self.pids.number(member.level.namespace, member.pgid).is_none() {
                        let (pid, pgid) = (member.pid, member.pgid);
                        let why = "which began outside of its pid namespace";
                        return Err(NoWay::of(pid, format!("process {pid} is in group {pgid}, {why}")));
                    }
                    self.steps.push(Step::SetPgid { pid: member.pid, pgid: member.pgid });
                }
            }
            self.steps.extend(helper);
            done.push(node.pgid);
        }
        Ok(())
    }
}

fn no_way(node: &Node) -> NoWay {
    let Node { pid, sid, ppid, .. } = node;
    NoWay::of(*pid, format!("process {pid} is in session {sid}, which its parent {ppid} is not in"))
}

/// A number for a helper: nobody's pid, group or session, and far below the holder's.
fn unused(nodes: &[Node]) -> Result<i32, NoWay> {
    (2..20_000).rev().find(|id| nodes.iter().all(|n| ![n.pid, n.pgid, n.sid].contains(id))).ok_or_else(|| {
        NoWay::of(nodes.first().map_or(0, |n| n.pid), "all process numbers are taken".to_owned())
    })
}

/// The stub that clones children of this parent.
fn creator_of(parent: i32) -> i32 {
    if parent == 1 { 0 } else { parent }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(pid: i32, ppid: i32, pgid: i32, sid: i32) -> Node {
        Node { pid, ppid, pgid, sid, exit_signal: libc::SIGCHLD, ended: None, level: Level::default() }
    }

    /// In the pid namespace 77, where everything has a number that is 100 less.
    fn inside(pid: i32, ppid: i32, pgid: i32, sid: i32) -> Node {
        let level = Level { namespace: 77, depth: 1, first: pid == 101 };
        Node { level, ..node(pid, ppid, pgid, sid) }
    }

    fn pids(nodes: &[Node]) -> Pids {
        let mut pids = Pids::default();
        for id in nodes.iter().flat_map(|n| [n.pid, n.pgid, n.sid]).filter(|id| *id > 100) {
            pids.note(&[77], &[0, id, id - 100]);
        }
        pids
    }

    fn plan(nodes: &[Node]) -> Result<Vec<Step>, NoWay> {
        super::plan(nodes, &pids(nodes))
    }

    /// Carries the steps out as a kernel would and returns what became of it.
    fn kernel(steps: &[Step]) -> HashMap<i32, (i32, i32, i32)> {
        // pid → (ppid, pgid, sid); the holder is 0, its parent roam-init 1.
        let mut all = HashMap::from([(0, (1, 900, 900))]);
        let mut levels = HashMap::from([(0, Level::default())]);
        for step in steps {
            match *step {
                Step::Fork { creator, pid, as_sibling, level, .. } => {
                    let made = levels.values().any(|l| l.namespace == level.namespace);
                    assert_ne!(made, level.first, "{pid} is in a namespace that is not there, or is");
                    levels.insert(pid, level);
                    let (ppid, pgid, sid) = all[&creator];
                    assert!(
                        !all.iter().any(|(p, s)| *p == pid || s.1 == pid || s.2 == pid),
                        "{pid} is in use as a pid, group or session"
                    );
                    all.insert(pid, (if as_sibling { ppid } else { creator }, pgid, sid));
                }
                Step::SetSid(pid) => {
                    let entry = all.get_mut(&pid).unwrap();
                    assert_ne!(entry.1, pid, "a group leader can't call setsid");
                    *entry = (entry.0, pid, pid);
                }
                Step::SetPgid { pid, pgid } => {
                    let sid = all[&pid].2;
                    assert_ne!(sid, pid, "a session leader can't change its group");
                    assert!(levels[&pid].namespace == 0 || pgid > 100, "{pid} can't see group {pgid}");
                    assert!(
                        pid == pgid || all.values().any(|p| p.1 == pgid && p.2 == sid),
                        "no group {pgid}"
                    );
                    all.get_mut(&pid).unwrap().1 = pgid;
                }
                Step::Dismiss { pid, parent } => {
                    let ppid = all.remove(&pid).unwrap().0;
                    assert_eq!(ppid, if parent == 0 { 1 } else { parent });
                    let reaper = if levels[&pid].namespace == 0 { 1 } else { 101 };
                    all.values_mut().filter(|p| p.0 == pid).for_each(|p| p.0 = reaper);
                }
            }
        }
        all.remove(&0);
        all
    }

    fn check(nodes: &[Node]) {
        let made = kernel(&plan(nodes).unwrap());
        assert_eq!(made.len(), nodes.len());
        for n in nodes {
            assert_eq!(made[&n.pid], (n.ppid, n.pgid, n.sid), "process {}", n.pid);
        }
    }

    #[test]
    fn a_shell_with_jobs() {
        check(&[node(5, 1, 5, 5), node(6, 5, 6, 6), node(7, 6, 7, 6), node(8, 6, 8, 6), node(9, 8, 8, 6)]);
    }

    #[test]
    fn a_child_born_before_its_parent_led_a_session() {
        check(&[node(5, 1, 5, 5), node(6, 5, 6, 6), node(7, 6, 5, 5)]);
    }

    #[test]
    fn a_daemon_whose_session_leader_is_gone() {
        check(&[node(5, 1, 5, 5), node(21, 1, 20, 20)]);
    }

    #[test]
    fn a_group_whose_leader_is_gone() {
        check(&[node(5, 1, 5, 5), node(6, 5, 30, 5), node(7, 5, 30, 5)]);
    }

    #[test]
    fn an_orphan_of_a_living_session() {
        check(&[node(5, 1, 5, 5), node(9, 1, 9, 5)]);
    }

    #[test]
    fn orphans_of_a_session_that_lives_elsewhere() {
        // A terminal (5), the editor in it (6), and two that it left behind, one with a child.
        check(&[
            node(5, 1, 5, 5),
            node(6, 5, 6, 6),
            node(18, 1, 18, 6),
            node(19, 1, 6, 6),
            node(20, 18, 18, 6),
            node(19_999, 6, 6, 6),
        ]);
    }

    #[test]
    fn a_pid_namespace_with_orphans_and_a_group_from_outside() {
        check(&[
            node(5, 1, 5, 5),
            node(6, 5, 6, 5),
            // Born into the group of its parent, which it can't see.
            inside(101, 6, 6, 5),
            inside(102, 101, 6, 5),
            // A session within, whose members were left to the first process.
            inside(110, 101, 110, 110),
            inside(111, 101, 111, 110),
            inside(112, 101, 110, 110),
            // A session and a group whose leaders have ended.
            inside(121, 101, 120, 120),
            inside(131, 102, 130, 5),
            // A brother of the first.
            inside(140, 6, 6, 5),
        ]);
    }

    #[test]
    fn a_group_outside_that_can_not_be_inherited_is_refused() {
        let nodes = [node(5, 1, 5, 5), node(6, 5, 6, 5), node(7, 5, 7, 5), inside(101, 6, 7, 5)];
        assert!(plan(&nodes).unwrap_err().why.contains("outside"));
        assert!(plan(&[node(5, 1, 5, 5), inside(102, 5, 5, 5)]).unwrap_err().why.contains("first process"));
    }

    #[test]
    fn lies_are_refused() {
        let missing = plan(&[node(5, 4, 5, 5)]).unwrap_err();
        assert!(missing.pid == 5 && missing.why.contains("missing"));
        assert!(plan(&[node(5, 6, 5, 5), node(6, 5, 5, 5)]).unwrap_err().why.contains("circle"));
        assert!(plan(&[node(5, 1, 5, 5), node(5, 1, 5, 5)]).unwrap_err().why.contains("twice"));
    }
}
