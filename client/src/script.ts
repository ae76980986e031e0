// The global of a script element. A bundler's own way to export from a script is 250 bytes longer.
import { MAX_CLIENT_FRAME_BYTES, Roomcast, RoomcastError } from "./index.js";

(globalThis as { RoomcastClient?: object }).RoomcastClient = { MAX_CLIENT_FRAME_BYTES, Roomcast, RoomcastError };
