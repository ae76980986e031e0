interface NetworkPorts {
  /**
   * Called when the device is online again, or the page is seen again: its timers may be long overdue, and somebody
   * waits.
   */
  back(): void;
  /** Called when the page is hidden: its timers will be late. */
  hidden(): void;
  /** Called when the connection may be dead without a sign, so that it is checked. */
  doubtful(): void;
}

/** The part of an `EventTarget` that the library uses. */
export interface NetworkTarget {
  addEventListener(event: string, listener: () => void): void;
  removeEventListener(event: string, listener: () => void): void;
}

type Page = NetworkTarget & { visibilityState?: string };

/** True in a browser tab that nobody sees. */
export function isHidden(): boolean {
  return (globalThis as { document?: Page }).document?.visibilityState === "hidden";
}

/**
 * Watches the browser's events about the page, and those of `target` about the network. `target` is the global object
 * unless one is given. Returns a function that stops it. Workers and Node have no page.
 *
 * An `offline` does not end the connection. It is wrong often enough, with VPNs and with servers on the same machine,
 * and a check of the connection costs one frame.
 */
export function watchNetwork({ back, hidden, doubtful }: NetworkPorts, target?: NetworkTarget): () => void {
  const { document } = globalThis as { document?: Page };
  const network = target ?? (globalThis as Partial<NetworkTarget> as NetworkTarget);
  const watched: [Page | undefined, string, () => void][] = [
    [network, "online", back],
    [network, "offline", doubtful],
    [document, "visibilitychange", () => (isHidden() ? hidden() : back())],
  ];
  // React Native may have a global `document`, or a global `addEventListener`, or neither.
  const each = (method: "addEventListener" | "removeEventListener") => {
    for (const [source, event, listener] of watched) source?.[method]?.(event, listener);
  };
  each("addEventListener");
  return () => each("removeEventListener");
}
