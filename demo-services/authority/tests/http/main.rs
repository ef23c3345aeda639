//! The authority over HTTP: for each rule a request in which only that rule is broken, and a valid twin.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod made;

#[cfg(test)]
mod admin;
#[cfg(test)]
mod attack;
#[cfg(test)]
mod authorize;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod consent;
#[cfg(test)]
mod control;
#[cfg(test)]
mod device;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod graph;
#[cfg(test)]
mod graph_deleted;
#[cfg(test)]
mod graph_faults;
#[cfg(test)]
mod graph_guard;
#[cfg(test)]
mod graph_licence;
#[cfg(test)]
mod graph_links;
#[cfg(test)]
mod graph_me;
#[cfg(test)]
mod graph_policies;
#[cfg(test)]
mod graph_references;
#[cfg(test)]
mod graph_registration;
#[cfg(test)]
mod graph_story;
#[cfg(test)]
mod graph_unregistered;
#[cfg(test)]
mod issue;
#[cfg(test)]
mod on_behalf_of;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod state;
#[cfg(test)]
mod token;
