#![no_main]

use recado::proto::SandboxConfig;
use recado::proto::sender::Config;

recado_fuzz::webhook!(Config::Sandbox(SandboxConfig {}));
