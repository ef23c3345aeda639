//! What Graph tells about a user beside names and mail.

use serde::{Deserialize, Serialize};

/// Properties of a user that no token carries; all optional.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// At most one telephone number.
    pub business_phones: Vec<String>,
    /// `Analyst`.
    pub job_title: Option<String>,
    /// Mobile telephone number.
    pub mobile_phone: Option<String>,
    /// `18/2111`.
    pub office_location: Option<String>,
    /// `en-US`.
    pub preferred_language: Option<String>,
    /// Department.
    pub department: Option<String>,
    /// Company.
    pub company_name: Option<String>,
    /// Street and number.
    pub street_address: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// City.
    pub city: Option<String>,
    /// State or province.
    pub state: Option<String>,
    /// Country or region.
    pub country: Option<String>,
}
