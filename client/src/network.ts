export interface NetworkPorts {
  /** The device says that it is online again. */
  online(): void;
  /** Something happened after which a connection may be dead without knowing: check it. */
  doubtful(): void;
}

interface EventSource {
  addEventListener?(event: string, listener: () => void): void;
  removeEventListener?(event: string, listener: () => void): void;
}

/**
 * Watches what a browser says about the network and the page; elsewhere there is nothing to watch. Returns a function that
 * stops it.
 *
 * `offline` does not end a connection by itself: it is wrong often enough (VPNs, servers on the same machine), and a check
 * of the connection costs one frame.
 */
export function watchNetwork({ online, doubtful }: NetworkPorts): () => void {
  const { document } = globalThis as { document?: EventSource & { visibilityState?: string } };
  const target = globalThis as EventSource;
  // A hidden page's timers are slowed down and a sleeping device's are stopped: heartbeats may be long overdue.
  const onVisible = () => {
    if (document?.visibilityState === "visible") doubtful();
  };
  const watched: [EventSource | undefined, string, () => void][] = [
    [target, "online", online],
    [target, "offline", doubtful],
    [document, "visibilitychange", onVisible],
  ];
  for (const [source, event, listener] of watched) source?.addEventListener?.(event, listener);
  return () => {
    for (const [source, event, listener] of watched) source?.removeEventListener?.(event, listener);
  };
}
