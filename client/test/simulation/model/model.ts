import type { Random } from "../../support/random.js";
import type { VirtualTime } from "../virtual-time.js";
import { Beat } from "./beat.js";
import { Fanout } from "./fanout.js";
import type { Faults } from "./faults.js";
import { Gateway } from "./gateway.js";
import { Meter } from "./meter.js";
import type { Observer } from "./observer.js";
import { Session } from "./session.js";
import { ConnectionsTable, MessagesTable } from "./tables.js";
import { Tokens } from "./tokens.js";

/** The server: API Gateway, the functions and the tables, in simulated time. */
export class Model {
  readonly meter = new Meter();
  readonly tokens: Tokens;
  readonly connections: ConnectionsTable;
  readonly messages: MessagesTable;
  readonly gateway: Gateway;
  readonly fanout: Fanout;

  constructor(time: VirtualTime, random: Random, faults: Faults, observer: Observer, retentionMs: number) {
    this.tokens = new Tokens(time);
    this.connections = new ConnectionsTable(time, faults);
    this.messages = new MessagesTable(time, faults, retentionMs);
    const beat = new Beat(time, random.next);
    const session = new Session(this.connections, this.messages, beat, faults, this.meter);
    this.gateway = new Gateway(time, faults, session, this.tokens, this.meter, observer);
    this.fanout = new Fanout(time, faults, this.connections, this.messages, this.gateway, observer);
    session.accepted = (room) => this.fanout.publish(room, 1);
  }
}
