// The switches beside the buttons: which way a call goes, and the policy at the authority.

import { send } from "./backend.js";

const NAMES = {
  "/api/api": "Call API",
  "/api/secure": "Secure",
  "/api/grpc/api": "Call API over gRPC",
  "/api/grpc/secure": "Secure over gRPC",
  "/api/samples/api": "Call API the samples' way",
};

export class Switches {
  #policy = document.getElementById("policy");
  #grpc = document.getElementById("call-grpc");
  #samples = document.getElementById("samples-way");

  /** `failed(title, answer)` is told of a switch that could not be thrown. */
  constructor(failed) {
    // A call goes one way.
    this.#grpc?.addEventListener("change", () => this.#exclude(this.#samples, this.#grpc));
    this.#samples?.addEventListener("change", () => this.#exclude(this.#grpc, this.#samples));
    this.#policy?.addEventListener("change", () => this.#throw(failed));
    // Somebody else may have switched the policy meanwhile.
    if (this.#policy) addEventListener("focus", () => this.#look());
  }

  /** The path of a call as the switches stand; `challenged` leaves the dead end out. */
  path(path, { challenged = false } = {}) {
    if (this.#samples?.checked && path === "/api/api" && !challenged) return "/api/samples/api";
    return this.#grpc?.checked ? path.replace("/api/", "/api/grpc/") : path;
  }

  /** The call of a path, in words. */
  name(path) {
    return NAMES[path];
  }

  /** Puts the switches as they stood for a call that goes on. */
  adopt(path) {
    if (this.#grpc) this.#grpc.checked = path.startsWith("/api/grpc/");
  }

  #exclude(other, changed) {
    if (changed.checked && other) other.checked = false;
  }

  async #throw(failed) {
    const enabled = this.#policy.checked;
    this.#policy.disabled = true;
    const answer = await send("/demo/policy", "POST", { enabled });
    this.#policy.disabled = false;
    this.#policy.focus();
    if (answer.ok) {
      this.#set(answer.body);
    } else {
      this.#policy.checked = !enabled;
      failed("Switching the policy", answer);
    }
  }

  async #look() {
    const answer = await send("/demo");
    if (answer.ok && !this.#policy.disabled) this.#set(answer.body);
  }

  #set(state) {
    if (typeof state?.policy?.enabled === "boolean") this.#policy.checked = state.policy.enabled;
  }
}
