//! The authority over HTTP: for each rule a request in which only that rule is broken, and a valid twin.

#[cfg(test)]
mod harness;
#[cfg(test)]
mod made;

#[cfg(test)]
mod authorize;
#[cfg(test)]
mod certificates;
#[cfg(test)]
mod consent;
#[cfg(test)]
mod control;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod issue;
#[cfg(test)]
mod on_behalf_of;
#[cfg(test)]
mod operations;
#[cfg(test)]
mod sessions;
#[cfg(test)]
mod token;
