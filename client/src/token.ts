/** Whether this is a JSON Web Token whose time is over by this device's clock. `false` if it cannot be told. */
export function isExpired(token: string): boolean {
  try {
    const payload = token.split(".")[1] ?? "";
    const { exp } = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))) as { exp: number };
    return exp * 1_000 < Date.now();
  } catch {
    return false;
  }
}
