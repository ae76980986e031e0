import { createContext, createElement, type ReactElement, type ReactNode, useContext, useEffect } from "react";
import type { Roomcast } from "../index.js";

const RoomcastContext = createContext<Roomcast | undefined>(undefined);

export interface RoomcastProviderProps {
  /** A client that is made outside of components, or kept in a state: a new one is another connection. */
  client: Roomcast;
  /** Calls `client.connect()` when mounted. Default true. */
  connect?: boolean;
  children?: ReactNode;
}

/**
 * Gives the components below a client, and connects it. The provider does not close the client, which belongs to its
 * maker, and which other parts of an application may use too. Nothing is connected on a server.
 */
export function RoomcastProvider({ client, connect = true, children }: RoomcastProviderProps): ReactElement {
  useEffect(() => {
    // The error is in `useRoomcast().error`.
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
