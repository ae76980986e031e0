import { createContext, createElement, type ReactElement, type ReactNode, useContext, useEffect } from "react";
import type { Roomcast } from "../index.js";

const RoomcastContext = createContext<Roomcast | undefined>(undefined);

export interface RoomcastProviderProps {
  /** Made outside of components, or kept in a state: a new one is another connection. */
  client: Roomcast;
  /** Whether to call `client.connect()` when mounted. Default true. */
  connect?: boolean;
  children?: ReactNode;
}

/**
 * Gives the components below a client, and connects it. It does not close it: the client belongs to who made it, and other parts of
 * an application may use it too. Nothing is connected on a server.
 */
export function RoomcastProvider({ client, connect = true, children }: RoomcastProviderProps): ReactElement {
  useEffect(() => {
    // What goes wrong is in `useRoomcast().error`.
    if (connect) client.connect().catch(() => {});
  }, [client, connect]);
  return createElement(RoomcastContext.Provider, { value: client }, children);
}

/** The client of the nearest `RoomcastProvider`. */
export function useClient(): Roomcast {
  const client = useContext(RoomcastContext);
  if (client === undefined) throw new Error("there is no RoomcastProvider above this component");
  return client;
}
