//! Conditional Access policies made in code.

use super::{Policy, Require, Target};
use crate::random;

impl Policy {
    /// Every token for the API of this name needs a second factor. Named `MFA for <api>`, for everybody, on.
    ///
    /// ```
    /// # use local_authority::Policy;
    /// let policy = Policy::mfa_for_app("my-api").users(["staff"]).sign_in_frequency(3600);
    /// assert_eq!(policy.name, "MFA for my-api");
    /// ```
    #[must_use]
    pub fn mfa_for_app(app: impl Into<String>) -> Self {
        Self::new(Require::Mfa, Target::App(app.into()))
    }

    /// Whoever is to meet this authentication context, `c1` to `c99`, needs a second factor. Named `MFA for <context>`, for everybody, on.
    #[must_use]
    pub fn mfa_for_context(context: impl Into<String>) -> Self {
        Self::new(Require::Mfa, Target::AuthContext(context.into()))
    }

    /// Nobody gets a token for the API of this name. Named `Block <api>`, for everybody, on.
    #[must_use]
    pub fn block_app(app: impl Into<String>) -> Self {
        Self::new(Require::Block, Target::App(app.into()))
    }

    /// Nobody meets this authentication context, `c1` to `c99`. Named `Block <context>`, for everybody, on.
    #[must_use]
    pub fn block_context(context: impl Into<String>) -> Self {
        Self::new(Require::Block, Target::AuthContext(context.into()))
    }

    /// Another name, with the id that belongs to it: a second policy for the same API.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self.id = id(&self.name);
        self
    }

    /// Only for these usernames and groups.
    #[must_use]
    pub fn users<U: Into<String>>(mut self, users: impl IntoIterator<Item = U>) -> Self {
        self.users = Some(users.into_iter().map(Into::into).collect());
        self
    }

    /// How old a sign-in may be, in seconds.
    #[must_use]
    pub fn sign_in_frequency(mut self, seconds: u64) -> Self {
        self.sign_in_frequency = Some(seconds);
        self
    }

    fn new(require: Require, target: Target) -> Self {
        let (Target::App(of) | Target::AuthContext(of)) = &target;
        let name = match require {
            Require::Block => format!("Block {of}"),
            Require::Mfa => format!("MFA for {of}"),
        };
        Self {
            id: id(&name),
            name,
            target,
            users: None,
            require,
            sign_in_frequency: None,
            enabled: true,
            registration: super::registration::PolicyRegistration::default(),
        }
    }
}

/// The id of a policy that is given none.
pub(super) fn id(name: &str) -> uuid::Uuid {
    random::derived_guid("policy", name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Directory;

    #[test]
    fn a_policy_made_in_code_is_the_one_of_the_file() {
        let text = "[tenant]\nid = \"11111111-2222-3333-4444-555555555555\"\ndomain = \"contoso.example\"\n\
                    [[users]]\nusername = \"a@contoso.example\"\npassword = \"p-a\"\ndisplay_name = \"A\"\ngroups = [\"staff\"]\n\
                    [[policies]]\nname = \"MFA for c1\"\nauth_context = \"c1\"\nrequire = \"mfa\"\nusers = [\"staff\"]\nsign_in_frequency = \"1h\"\n";
        let directory: Directory = text.parse().unwrap();
        let made = Policy::mfa_for_context("c1")
            .users(["staff"])
            .sign_in_frequency(3600);
        assert_eq!(format!("{:?}", directory.policies[0]), format!("{made:?}"));
        let other = Policy::mfa_for_context("c1").named("Other");
        assert_ne!((&other.name, other.id), (&made.name, made.id));
        assert_eq!(Policy::block_app("x").require, Require::Block);
        assert_eq!(
            Policy::block_context("c2").target,
            Target::AuthContext("c2".into())
        );
    }
}
