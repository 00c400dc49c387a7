//! Where this processor keeps which registers in the standard XSAVE form (Intel SDM volume 1, 13.4): the
//! places differ between makers and models, the contents do not.

use std::arch::x86_64::{__cpuid, __cpuid_count};

/// The leaf of CPUID that tells.
const LEAF: u32 = 0xd;

/// One set of registers beyond x87 and SSE, such as AVX or the rights of protection keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Component {
    /// Its bit in XCR0 and XSTATE_BV.
    pub index: u32,
    /// Bytes from the start of the area.
    pub offset: u32,
    /// Its length in bytes.
    pub size: u32,
}

/// The components of this processor that belong to programs; none where there is no XSAVE.
#[must_use]
pub fn components() -> Vec<Component> {
    if __cpuid(0).eax < LEAF {
        return Vec::new();
    }
    let component = |index| {
        let leaf = __cpuid_count(LEAF, index);
        // Bit 0 of ecx: of the supervisor, in no program's area.
        (leaf.eax != 0 && leaf.ecx & 1 == 0).then_some(Component { index, offset: leaf.ebx, size: leaf.eax })
    };
    (2..63).filter_map(component).collect()
}
