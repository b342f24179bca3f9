//! Where 360dialog differs from Meta, whose API it passes on. [docs] is what docs.360dialog.com says, [assumed] what it leaves
//! open: that is changed here and nowhere else. The README lists it too.

/// [docs] Where the API is. The sandbox is at `https://waba-sandbox.360dialog.io`.
pub const BASE_URL: &str = "https://waba-v2.360dialog.io";
/// [docs] The header that holds the key, which is of one number.
pub const KEY_HEADER: &str = "d360-api-key";
/// [docs] `POST`: messages, in Meta's form.
pub const SEND_PATH: &str = "messages";
/// [docs] `POST`: a file to keep, in Meta's form.
pub const UPLOAD_PATH: &str = "media";
/// [docs] `GET`: whether the number can send.
pub const HEALTH_PATH: &str = "health_status";
/// [docs] `GET`: templates, by `limit` and `offset`.
pub const TEMPLATES_PATH: &str = "v1/configs/templates";
/// [assumed] Templates in a page.
pub const TEMPLATE_PAGE: usize = 100;
/// Pages read at most, whatever `total` says.
pub const TEMPLATE_PAGES_MAX: usize = 100;
/// [docs] Addresses of files on this host of Meta's are fetched from the API's instead.
pub const METAS_FILES: &str = "lookaside.fbsbx.com";
