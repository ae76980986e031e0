/** True for a JSON Web Token that has expired by this device's clock. Other tokens are not read, and count as good. */
export function isExpired(token: string): boolean {
  try {
    const payload = token.split(".")[1] ?? "";
    const { exp } = JSON.parse(atob(payload.replace(/-/g, "+").replace(/_/g, "/"))) as { exp: number };
    return exp * 1_000 < Date.now();
  } catch {
    return false;
  }
}
