//! Rows of connections that are present: those that presence lists, and those that lifecycle events count. Such a row
//! has the attributes `memberOf` (its room) and `presentUntil`, and a listed one `listed` and perhaps `data`. A row
//! that was lost and put back, present or not, has `putBack` until its connection joins again. The index
//! `members-index` is by `memberOf`, so no other row is in it.

use aws_sdk_dynamodb::{
    operation::{put_item::builders::PutItemFluentBuilder, update_item::builders::UpdateItemFluentBuilder},
    types::{AttributeValue, ReturnValue},
};

use super::{ConnectionTable, Joining, KnownRow, LEAVE, PUT};
use crate::{
    clock::Clock,
    connection::ConnectionId,
    item::{Item, number, text},
    presence::Listing,
    room::RoomId,
    store::StoreError,
};

/// The update that renews how long a connection is present.
const RENEW_LEASE: &str = "SET memberOf = :room, presentUntil = :until";

/// The condition that a row is that of a present connection.
const IS_PRESENT: &str = "attribute_exists(memberOf)";

const RENEW: &str = "UpdateItem of a connection";

/// The way in which a connection is present in a room.
#[derive(Clone, Copy, Debug)]
pub struct Membership<'a> {
    /// The time for which it is present unless that is renewed, in seconds.
    pub lease_seconds: u64,
    /// Its entry in the list; `None` if it is only counted.
    pub listing: Option<&'a Listing>,
}

impl<C: Clock> ConnectionTable<C> {
    /// Puts a connection into a room as present, whatever its row was before; again is fine. It is present no longer
    /// than its row lasts.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn join_as_present(&self, joining: Joining<'_>, membership: Membership<'_>) -> Result<(), StoreError> {
        let put = self.put_of_present(joining, membership);
        put.send().await.map_err(StoreError::of_call(PUT))?;
        Ok(())
    }

    fn put_of_present(&self, joining: Joining<'_>, membership: Membership<'_>) -> PutItemFluentBuilder {
        let expires_at = self.expiry(joining.ends_at);
        let put = self
            .put_of(joining, expires_at)
            .item("memberOf", text(joining.room.as_str()))
            .item("presentUntil", number(self.present_until(membership.lease_seconds, expires_at)));
        match membership.listing {
            Some(Listing { data }) => {
                let put = put.item("listed", AttributeValue::Bool(true));
                data.iter().fold(put, |put, data| put.item("data", text(data.as_json())))
            }
            None => put,
        }
    }

    /// Puts back a row that was not found, in a room that keeps presence. With `counted_for`, the connection counts as
    /// present for so many seconds. Returns false, and writes nothing, if there is a row after all and its connection
    /// is present: the read before had not seen it yet. A row that was put back is put again, since it may be that of
    /// an earlier attempt of this call, which was not answered.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn put_back(&self, joining: Joining<'_>, counted_for: Option<u64>) -> Result<bool, StoreError> {
        let put = match counted_for {
            Some(lease_seconds) => self.put_of_present(joining, Membership { lease_seconds, listing: None }),
            None => self.put_of(joining, self.expiry(joining.ends_at)),
        };
        let is_lost = "attribute_not_exists(memberOf) OR attribute_exists(putBack)";
        let put = put.item("putBack", AttributeValue::Bool(true)).condition_expression(is_lost).send().await;
        Ok(StoreError::unless_condition_failed(PUT, put)?.is_some())
    }

    /// Puts a connection into a room that keeps presence, but not as present. Says whether it may have been present
    /// until now. It may if the row that was there is that of an earlier attempt of this call, which was not answered.
    ///
    /// # Errors
    /// As [`Self::join`].
    pub async fn join_as_absent(&self, joining: Joining<'_>) -> Result<bool, StoreError> {
        let put = self.put_of(joining, self.expiry(joining.ends_at)).return_values(ReturnValue::AllOld);
        let joined_at = put.get_item().as_ref().and_then(|item| item.get("joinedAt")).cloned();
        let old = put.send().await.map_err(StoreError::of_call(PUT))?.attributes;
        Ok(old.as_ref().is_some_and(|old| is_present(old) || old.get("joinedAt") == joined_at.as_ref()))
    }

    /// Renews a present connection: how long it is present, and how long its row lasts; what is listed of it stays.
    /// Returns false, and writes nothing, if the row is gone, or if its connection is not present.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn renew_present(&self, joining: Joining<'_>, lease_seconds: u64) -> Result<bool, StoreError> {
        let expires_at = self.expiry(joining.ends_at);
        let update = self
            .update_of(joining.connection, joining.room, self.present_until(lease_seconds, expires_at))
            .update_expression(format!("{RENEW_LEASE}, expiresAt = :expires"))
            .expression_attribute_values(":expires", number(expires_at))
            .condition_expression(IS_PRESENT);
        Ok(StoreError::unless_condition_failed(RENEW, update.send().await)?.is_some())
    }

    /// Renews how long a connection is present, no longer than its row lasts; what is listed of it stays.
    /// Returns false, and writes nothing, if the row is gone, or if its connection is not present; with `also_absent`
    /// that connection becomes present instead.
    ///
    /// # Errors
    /// When the table does not take it, or throttles.
    pub async fn renew_lease(
        &self,
        connection: &ConnectionId,
        room: &RoomId,
        row: &KnownRow,
        lease_seconds: u64,
        also_absent: bool,
    ) -> Result<bool, StoreError> {
        let update = self
            .update_of(connection, room, self.present_until(lease_seconds, row.expires_at))
            .update_expression(RENEW_LEASE)
            .condition_expression(if also_absent { "attribute_exists(userId)" } else { IS_PRESENT });
        Ok(StoreError::unless_condition_failed(RENEW, update.send().await)?.is_some())
    }

    /// An update of a row with the values of [`RENEW_LEASE`]; what it sets, and on what condition, is the caller's.
    fn update_of(&self, connection: &ConnectionId, room: &RoomId, present_until: u64) -> UpdateItemFluentBuilder {
        self.client
            .update_item()
            .table_name(&*self.table)
            .key("connectionId", text(connection.as_str()))
            .key("roomId", text(room.as_str()))
            .expression_attribute_values(":room", text(room.as_str()))
            .expression_attribute_values(":until", number(present_until))
    }

    /// As [`Self::leave`], in a room that keeps presence. Says whether the connection may have been present. Without a
    /// row it may: an earlier attempt of this call that was not answered may have deleted the row.
    ///
    /// # Errors
    /// As [`Self::leave`].
    pub async fn leave_as_present(&self, connection: &ConnectionId, room: &RoomId) -> Result<bool, StoreError> {
        let delete = self.delete_of(connection, room).return_values(ReturnValue::AllOld);
        let old = delete.send().await.map_err(StoreError::of_call(LEAVE))?.attributes;
        Ok(old.as_ref().is_none_or(is_present))
    }

    fn present_until(&self, lease_seconds: u64, expires_at: u64) -> u64 {
        expires_at.min(self.clock.unix_seconds() + lease_seconds)
    }
}

pub(in crate::store) fn is_present(row: &Item) -> bool {
    row.contains_key("memberOf")
}
