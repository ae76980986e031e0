interface NetworkPorts {
  /** The device says that it is online again, or the page is seen again: its timers may be long overdue, and somebody waits for it. */
  back(): void;
  /** The page is hidden: its timers will be late. */
  hidden(): void;
  /** Something happened after which a connection may be dead without knowing: check it. */
  doubtful(): void;
}

/** The part of an `EventTarget` that the library uses. */
export interface NetworkTarget {
  addEventListener(event: string, listener: () => void): void;
  removeEventListener(event: string, listener: () => void): void;
}

type Page = NetworkTarget & { visibilityState?: string };

/** Whether this is a browser tab that nobody sees. */
export function isHidden(): boolean {
  return (globalThis as { document?: Page }).document?.visibilityState === "hidden";
}

/**
 * Watches what a browser says about the page, and `target` (default: the global object, where it has events) about the network.
 * Returns a function that stops it. In a worker there is no page, in Node neither.
 *
 * `offline` does not end a connection by itself: it is wrong often enough (VPNs, servers on the same machine), and a check
 * of the connection costs one frame.
 */
export function watchNetwork({ back, hidden, doubtful }: NetworkPorts, target?: NetworkTarget): () => void {
  const { document } = globalThis as { document?: Page };
  const network = target ?? (globalThis as Partial<NetworkTarget> as NetworkTarget);
  const watched: [Page | undefined, string, () => void][] = [
    [network, "online", back],
    [network, "offline", doubtful],
    [document, "visibilitychange", () => (isHidden() ? hidden() : back())],
  ];
  // React Native has a global `document` or `addEventListener` or neither, depending on the day.
  const each = (method: "addEventListener" | "removeEventListener") => {
    for (const [source, event, listener] of watched) source?.[method]?.(event, listener);
  };
  each("addEventListener");
  return () => each("removeEventListener");
}
