//! Tables for the window manager's decisions.

use super::*;
use proptest::prelude::*;

const SCREEN: Rect = Rect::new(0, 0, 1920, 1080);

fn properties() -> Properties {
    Properties {
        kind: WindowKind::Normal,
        transient_for: None,
        hints: SizeHints::default(),
        wants_position: false,
        input: true,
        take_focus: false,
        delete_window: true,
    }
}

fn map(model: &mut Model, window: Window, properties: Properties) -> Vec<Effect> {
    let rect = Rect::new(0, 0, 300, 200);
    model.handle(Input::Map { window, rect, properties, state: WindowState::default() })
}

fn dialog_of(parent: Window) -> Properties {
    Properties { kind: WindowKind::Dialog, transient_for: Some(parent), ..properties() }
}

#[test]
fn a_new_window_is_placed_shown_and_focused_in_its_own_size() {
    let mut model = Model::new(SCREEN);
    let effects = map(&mut model, 1, properties());
    assert!(effects.contains(&Effect::Configure(1, Rect::new(64, 64, 300, 200))));
    assert!(effects.contains(&Effect::Show(1)));
    assert!(effects.contains(&Effect::Focus { window: 1, set: true, take: false }));
    assert_eq!((model.order(), model.active()), (&[1][..], Some(1)));
}

#[test]
fn the_four_focus_models_of_icccm() {
    for (input, take, focused) in
        [(true, false, true), (true, true, true), (false, true, true), (false, false, false)]
    {
        let mut model = Model::new(SCREEN);
        let effects = map(&mut model, 1, Properties { input, take_focus: take, ..properties() });
        let focus = effects.iter().find(|e| matches!(e, Effect::Focus { .. }));
        let expected = Effect::Focus { window: 1, set: input, take };
        assert_eq!(focus, focused.then_some(&expected));
    }
}

#[test]
fn a_modal_dialog_keeps_the_keyboard_and_lies_above() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, properties());
    map(&mut model, 2, dialog_of(1));
    model.handle(Input::State { window: 2, state: WindowState { modal: true, ..WindowState::default() } });
    model.handle(Input::Activate(Some(1)));
    assert_eq!(model.active(), Some(2));
    assert_eq!(model.stack(), &[1, 2]);
    model.handle(Input::Gone(2));
    assert_eq!(model.active(), Some(1));
}

#[test]
fn raising_a_window_carries_its_dialogs() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, properties());
    map(&mut model, 2, dialog_of(1));
    map(&mut model, 3, properties());
    let effects = model.handle(Input::Activate(Some(1)));
    assert_eq!(model.stack(), &[3, 1, 2]);
    assert_eq!(effects[0], Effect::StackAbove(1, Some(3)));
    assert_eq!(effects[1], Effect::StackAbove(2, Some(1)));
}

#[test]
fn windows_that_are_transient_for_each_other_end_the_search() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, dialog_of(2));
    map(&mut model, 2, dialog_of(1));
    for window in [1, 2] {
        let state = WindowState { modal: true, ..WindowState::default() };
        model.handle(Input::State { window, state });
        model.handle(Input::Activate(Some(window)));
    }
    assert_eq!(model.stack().len(), 2);
}

#[test]
fn a_maximised_window_comes_back_to_its_place() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, properties());
    let maximized = WindowState { maximized: true, ..WindowState::default() };
    let effects = model.handle(Input::State { window: 1, state: maximized });
    assert!(effects.contains(&Effect::Configure(1, SCREEN)));
    let effects = model.handle(Input::Resize { window: 1, size: Size::new(1280, 700) });
    assert!(effects.contains(&Effect::Configure(1, Rect::new(0, 0, 1280, 700))));
    let effects = model.handle(Input::State { window: 1, state: WindowState::default() });
    assert!(effects.contains(&Effect::Configure(1, Rect::new(64, 64, 300, 200))));
}

#[test]
fn a_request_that_changes_nothing_is_still_answered() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, properties());
    let same = Input::Configure { window: 1, x: None, y: None, width: Some(300), height: None, raise: false };
    assert_eq!(model.handle(same), vec![Effect::Notify(1, Rect::new(64, 64, 300, 200))]);
}

#[test]
fn apps_are_never_shrunk_and_stay_reachable() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, properties());
    let large = Input::Configure {
        window: 1,
        x: Some(1900),
        y: None,
        width: Some(2500),
        height: Some(100),
        raise: false,
    };
    assert!(model.handle(large).contains(&Effect::Configure(1, Rect::new(0, 64, 2500, 100))));
}

#[test]
fn a_window_without_the_protocol_is_killed_on_close() {
    let mut model = Model::new(SCREEN);
    map(&mut model, 1, properties());
    map(&mut model, 2, Properties { delete_window: false, ..properties() });
    assert_eq!(model.handle(Input::Close(1)), vec![Effect::AskToClose(1)]);
    assert_eq!(model.handle(Input::Close(2)), vec![Effect::Kill(2)]);
    assert_eq!(model.handle(Input::Close(9)), vec![]);
}

fn any_input() -> impl Strategy<Value = Input> {
    let window = 1u32..5;
    let coordinate = proptest::option::of(-50_000..50_000);
    prop_oneof![
        (window.clone(), 0u32..5, any::<bool>()).prop_map(|(window, parent, modal)| Input::Map {
            window,
            rect: Rect::new(0, 0, 300, 200),
            properties: dialog_of(parent),
            state: WindowState { modal, ..WindowState::default() },
        }),
        window.clone().prop_map(Input::Gone),
        proptest::option::of(window.clone()).prop_map(Input::Activate),
        window.clone().prop_map(Input::Close),
        (window.clone(), coordinate.clone(), coordinate).prop_map(|(window, x, width)| Input::Configure {
            window,
            x,
            y: None,
            width,
            height: width,
            raise: true
        }),
        (window.clone(), 1u16.., 1u16..)
            .prop_map(|(window, w, h)| Input::Resize { window, size: Size::new(w, h) }),
        (window, any::<bool>()).prop_map(|(window, fullscreen)| Input::State {
            window,
            state: WindowState { fullscreen, ..WindowState::default() }
        }),
    ]
}

proptest! {
    #[test]
    fn the_lists_always_agree(inputs in proptest::collection::vec(any_input(), 0..60)) {
        let mut model = Model::new(SCREEN);
        for input in inputs {
            model.handle(input);
            let (mut order, mut stack) = (model.order().to_vec(), model.stack().to_vec());
            order.sort_unstable();
            stack.sort_unstable();
            prop_assert_eq!(&order, &stack);
            prop_assert!(model.active().is_none_or(|w| model.manages(w)));
        }
    }
}
