//! Objects of the document, declared with their keys.

/// Objects of the document: structs that are read key by key. A key is required
/// unless its type is an `Option`; `as "…"` is how it is written where a field
/// cannot have that name. `=> Type` is what the struct is made into, by `From`,
/// and what other objects hold.
///
/// `#[check(…)]` names what tells faults between the keys. It looks at the
/// document and not at what was made of it, so that no other fault hides them.
macro_rules! object {
    ($(
        $(#[doc = $doc:literal])*
        $(#[check($check:path)])?
        struct $name:ident $(=> $made:ty)? {
            $($(#[doc = $key_doc:literal])+ $key:ident $(as $written:literal)?: $type:ty,)+
        }
    )+) => {$(
        $(#[doc = $doc])*
        #[derive(Default)]
        pub(crate) struct $name {
            $($(#[doc = $key_doc])+ pub(crate) $key: $type,)+
        }

        impl $crate::reader::Read for $name {
            fn read(at: &$crate::reader::At<'_>) -> Option<Self> {
                at.has_only(&[$(object!(@written $key $($written)?)),+])?;
                $($check(at);)?
                Some(Self {
                    $($key: $crate::reader::Key::read_key(at, object!(@written $key $($written)?)),)+
                })
            }
        }

        $(impl $crate::reader::Read for $made {
            fn read(at: &$crate::reader::At<'_>) -> Option<Self> {
                <$name as $crate::reader::Read>::read(at).map(Self::from)
            }
        }

        #[cfg(feature = "schema")]
        impl $crate::json_schema::Schema for $made {
            fn schema(definitions: &mut $crate::json_schema::Definitions) -> serde_json::Value {
                <$name as $crate::json_schema::Schema>::schema(definitions)
            }
        })?

        #[cfg(feature = "schema")]
        impl $crate::json_schema::Object for $name {
            const NAME: &'static str = stringify!($name);
            const DOC: &'static str = concat!($($doc),*);
            const KEYS: &'static [$crate::json_schema::Property] = &[$($crate::json_schema::Property::of::<$type>(
                object!(@written $key $($written)?),
                concat!($($key_doc),+),
                <$type as $crate::reader::Key>::REQUIRED,
            )),+];
        }
    )+};
    (@written $key:ident) => { stringify!($key) };
    (@written $key:ident $written:literal) => { $written };
}

pub(crate) use object;
