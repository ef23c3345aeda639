//! Applications that were deleted and can be brought back for thirty days.

use uuid::Uuid;

use super::{App, Directory};

/// Seconds until a deleted application is gone for good.
const KEPT: u64 = 30 * 86_400;
/// Of more than these the oldest ones are gone for good.
const MOST: usize = 100;

/// An application that is in no list, that nobody can sign in to, and whose ids and URIs nobody else can have.
#[derive(Clone, Debug)]
pub(crate) struct DeletedApp {
    pub(crate) app: App,
    /// Seconds since 1970.
    pub(crate) at: u64,
}

impl Directory {
    /// Deleted applications that can be brought back.
    pub(crate) fn deleted_apps(&self, now: u64) -> impl Iterator<Item = &DeletedApp> {
        self.deleted_apps
            .iter()
            .filter(move |deleted| deleted.is_kept(now))
    }

    /// Forgets what has been deleted for long.
    pub(crate) fn forget_deleted(&mut self, now: u64) {
        self.deleted_apps.retain(|deleted| deleted.is_kept(now));
    }

    /// Deletes an application together with its service principal. Policies keep its id, and what others held on it is lost at the end
    /// of the change.
    pub(crate) fn delete_app(&mut self, client_id: Uuid, now: u64) {
        let Some(index) = self.apps.iter().position(|app| app.client_id == client_id) else {
            return;
        };
        self.end_principal(client_id);
        let app = self.apps.remove(index);
        self.unname(&app.name, client_id);
        if self.deleted_apps.len() >= MOST {
            self.deleted_apps.remove(0);
        }
        self.deleted_apps.push(DeletedApp { app, at: now });
    }

    /// Brings an application back, without a service principal. Its name may be another one's by now.
    pub(crate) fn restore_app(&mut self, object_id: Uuid) -> Option<Uuid> {
        let index = self.deleted(object_id)?;
        let mut app = self.deleted_apps.remove(index).app;
        let (display_name, client_id) = (app.display_name().to_owned(), app.client_id);
        app.name = self.unique_app_name(&display_name, client_id);
        app.registration.display_name = (app.name != display_name).then_some(display_name);
        self.apps.push(app);
        Some(client_id)
    }

    /// Whether it was there.
    pub(crate) fn forget_app(&mut self, object_id: Uuid) -> bool {
        let index = self.deleted(object_id);
        index.map(|index| self.deleted_apps.remove(index)).is_some()
    }

    fn deleted(&self, object_id: Uuid) -> Option<usize> {
        let mut deleted = self.deleted_apps.iter();
        deleted.position(|deleted| deleted.app.object_id() == object_id)
    }

    /// Takes the service principal of an application away, and with it what was granted to it and on it.
    pub(crate) fn end_principal(&mut self, client_id: Uuid) {
        let apps = self.apps_and_graph();
        let Some(app) = self.apps.iter_mut().find(|app| app.client_id == client_id) else {
            return;
        };
        app.write_grants_down(&apps);
        app.registration.grants.clear();
        app.app_permissions.clear();
        app.registration.without_principal = true;
        let resource = app.clone();
        for client in &mut self.apps {
            if client.held_on(&resource).next().is_some() {
                client.write_grants_down(&apps);
            }
            let permissions = &mut client.app_permissions;
            permissions.retain(|permission| resource.permission(permission).is_none());
        }
        for user in &mut self.users {
            user.roles
                .retain(|permission| resource.permission(permission).is_none());
        }
    }
}

impl DeletedApp {
    fn is_kept(&self, now: u64) -> bool {
        now.saturating_sub(self.at) < KEPT
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;

    fn delete(directory: &mut Directory, name: &str) -> App {
        let app = directory.app(name).unwrap().clone();
        directory.delete_app(app.client_id, NOW);
        directory.settle();
        directory.validate().unwrap();
        app
    }

    #[test]
    fn it_comes_back_without_a_principal_and_without_what_was_held_on_it() {
        let mut directory = Directory::demo();
        let app = delete(&mut directory, "downstream-api");
        assert!(directory.app("downstream-api").is_none());
        assert!(directory.app("daemon").unwrap().app_permissions.is_empty());
        assert_eq!(directory.deleted_apps(NOW).count(), 1);
        assert_eq!(directory.restore_app(app.object_id()), Some(app.client_id));
        directory.settle();
        directory.validate().unwrap();
        let again = directory.app("downstream-api").unwrap();
        assert!(!again.has_principal() && again.scopes == app.scopes);
        assert!(again.secrets.len() == app.secrets.len() && again.name == app.name);
        assert!(directory.app("daemon").unwrap().app_permissions.is_empty());
        assert_eq!(directory.deleted_apps(NOW).count(), 0);
        assert_eq!(directory.restore_app(app.object_id()), None);
    }

    #[test]
    fn a_name_that_is_taken_by_now_stays_a_display_name() {
        let mut directory = Directory::demo();
        let app = delete(&mut directory, "daemon");
        directory.apps.push(App::new("daemon", Uuid::from_u128(1)));
        directory.restore_app(app.object_id());
        directory.validate().unwrap();
        let again = directory.app(&app.client_id.to_string()).unwrap();
        assert_eq!(again.display_name(), "daemon");
        assert_eq!(again.name, format!("daemon ({})", app.client_id));
    }

    #[test]
    fn after_thirty_days_it_is_gone() {
        let mut directory = Directory::demo();
        let app = delete(&mut directory, "daemon");
        for (now, kept) in [(NOW - 1, 1), (NOW + KEPT - 1, 1), (NOW + KEPT, 0)] {
            assert_eq!(directory.deleted_apps(now).count(), kept, "{now}");
            let mut later = directory.clone();
            later.forget_deleted(now);
            assert_eq!(later.forget_app(app.object_id()), kept == 1, "{now}");
        }
    }

    #[test]
    fn there_are_no_more_than_a_hundred() {
        let mut directory = Directory::demo();
        let id = |number: usize| Uuid::from_u128(number as u128 + 1);
        for number in 0..=MOST {
            directory
                .apps
                .push(App::new(number.to_string(), id(number)));
            directory.delete_app(id(number), NOW);
        }
        let kept: Vec<_> = directory.deleted_apps(NOW).collect();
        assert_eq!(kept.len(), MOST);
        assert_eq!(kept[0].app.client_id, id(1));
    }
}
